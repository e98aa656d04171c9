import { readFileSync } from 'node:fs';

/* The names of addresses in this machine's own files: no question leaves the machine. */

const LOOPBACK = '127.0.0.1 localhost\n';

function linesOf(path: string): string[][] {
  let text = path === '/etc/hosts' ? LOOPBACK : '';
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    // A system without the file has no such names.
  }
  return text.split('\n').map(line => line.replace(/#.*/, '').trim().split(/\s+/));
}

/** The first name of an address in /etc/hosts. */
export function hostName(address: string): string | undefined {
  return linesOf('/etc/hosts').find(([first, name]) => first === address && name !== undefined)?.[1];
}

/** The name of a network in /etc/networks. */
export function networkName(address: string): string | undefined {
  return linesOf('/etc/networks').find(([, number]) => number === address)?.[0];
}
