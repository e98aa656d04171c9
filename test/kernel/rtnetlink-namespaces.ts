import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, expect } from 'vitest';
import { NetlinkError } from '../../src/errors.ts';
import { NetNs } from '../../src/netns/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';

export let here: NetNs;
export let there: NetNs;
export let links: Links;
export let others: Links;

/** Two namespaces for each test, with a handle in each. */
export function inTwoNamespaces(): void {
  beforeEach(() => {
    here = NetNs.create();
    there = NetNs.create();
    links = Links.open({ netns: here });
    others = Links.open({ netns: there });
  });

  afterEach(async () => {
    await links[Symbol.asyncDispose]();
    await others[Symbol.asyncDispose]();
    here.close();
    there.close();
  });
}

// biome-ignore lint/suspicious/noExplicitAny: what iproute2 prints
export type Printed = any;

/** What iproute2 sees. */
export function ip(netns: NetNs, ...words: string[]): Printed[] {
  const text = netns.run(() => execFileSync('ip', ['-d', '-j', ...words], { encoding: 'utf8' }));
  return text.trim() === '' ? [] : JSON.parse(text);
}

export const ipLink = (netns: NetNs, name: string): Printed => ip(netns, 'link', 'show', 'dev', name)[0];

export async function failure(promise: Promise<unknown>): Promise<NetlinkError> {
  const error = await promise.then(
    () => new Error('nothing was refused'),
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(NetlinkError);
  return error as NetlinkError;
}
