import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, expect } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { cleanUpsOfEach } from './clean-ups.ts';

export const here = () => fs.readlinkSync('/proc/thread-self/ns/net');
export const inodeOf = (link: string) => Number(/^net:\[(\d+)\]$/.exec(link)?.[1]);
export const descriptors = () => fs.readdirSync('/proc/self/fd').length;

export const cleanUps = cleanUpsOfEach();

export function make(): NetNs {
  const netns = NetNs.create();
  cleanUps.add(() => netns.close());
  return netns;
}

/** A process that lives in a namespace until the test is over. */
export function inhabitant(netns: NetNs): { pid: number; end: () => Promise<void> } {
  const child = netns.run(() => spawn('sleep', ['1000'], { stdio: 'ignore' }));
  cleanUps.add(() => void child.kill('SIGKILL'));
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()));
  const end = () => {
    child.kill('SIGKILL');
    return ended;
  };
  return { pid: child.pid!, end };
}

export function scratch(): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netns-'));
  cleanUps.add(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}

let names = 0;
/** A name under /run/netns that the test's end takes away. */
export function freshName(): string {
  const name = `netsteer-${process.pid}-${names++}`;
  cleanUps.add(() => {
    try {
      execFileSync('umount', ['-l', `/run/netns/${name}`], { stdio: 'ignore' });
    } catch {}
    fs.rmSync(`/run/netns/${name}`, { force: true });
  });
  return name;
}

export function caught(run: () => unknown): Error & Record<string, unknown> {
  try {
    run();
  } catch (error) {
    return error as Error & Record<string, unknown>;
  }
  throw new Error('nothing was thrown');
}

export const home = here();

/** A test of a namespace leaves the thread where it was. */
export function staysHome(): void {
  afterAll(() => expect(here()).toBe(home));
}
