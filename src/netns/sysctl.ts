import { rangeError, show, typeError } from '../errors.ts';
import type { NamespaceFiles } from './access.ts';
import { fromNode } from './failure.ts';

/**
 * The sysctls of one namespace. Only names under `net.` belong to a network namespace; all others are the host's and are refused.
 * @example
 * netns.sysctl.set('net.ipv4.conf.all.rp_filter', 2);
 */
export class Sysctl {
  readonly #files: NamespaceFiles;

  /** @internal */
  constructor(files: NamespaceFiles) {
    this.#files = files;
  }

  /**
   * The value as the kernel prints it, without the newline.
   * @param name the name with dots or slashes: 'net.ipv4.ip_forward'
   * @throws NetNsError `ENOENT` where the kernel has no such sysctl
   * @example
   * console.log(netns.sysctl.get('net.ipv4.ip_forward'));
   */
  get(name: string): string {
    const path = pathOf(name);
    try {
      return this.#files.read(path).trimEnd();
    } catch (error) {
      throw fromNode(error, `sysctl ${name}`);
    }
  }

  /**
   * Writes a value. It holds for this namespace alone.
   * @param name the name with dots or slashes: 'net.ipv4.ip_forward'
   * @param value true and false are written as 1 and 0
   * @throws NetNsError `ENOENT` no such sysctl, `EACCES` read-only (here), `EINVAL` a value that the kernel does not take
   * @example
   * netns.sysctl.set('net.ipv4.ip_forward', true);
   */
  set(name: string, value: string | number | boolean): void {
    const path = pathOf(name);
    const type = typeof value;
    if (type !== 'string' && type !== 'number' && type !== 'boolean')
      throw typeError(['value'], 'a string, number or boolean', value);
    const text = typeof value === 'boolean' ? (value ? '1' : '0') : String(value);
    try {
      this.#files.write(path, text);
    } catch (error) {
      throw fromNode(error, `sysctl ${name} = ${show(value)}`);
    }
  }
}

/** Dots and slashes change places, as sysctl(8) has it: a device called eth0.1 is written net.ipv4.conf.eth0/1.rp_filter. */
function pathOf(name: string): string {
  if (typeof name !== 'string') throw typeError(['name'], 'a string', name);
  const parts = name.split('.').map(part => part.replaceAll('/', '.'));
  const bad = parts.some(part => part === '' || part === '.' || part === '..' || part.includes('\0'));
  if (bad || parts[0] !== 'net' || parts.length < 2)
    throw rangeError(['name'], "a sysctl under 'net.', such as net.ipv4.ip_forward", name);
  return `/proc/sys/${parts.join('/')}`;
}
