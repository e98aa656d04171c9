import { spawnSync } from 'node:child_process';
import { NetNs, Nftables } from 'netsteer';
import { afterEach, beforeEach, expect } from 'vitest';

/** The namespace of the test that runs, and its packet rules. */
export let netns: NetNs;
export let nft: Nftables;

/** Gives each test of a file a namespace of its own. */
export function freshNamespaces(): void {
  beforeEach(() => {
    netns = NetNs.create();
    nft = Nftables.open({ netns });
  });

  afterEach(async () => {
    await nft[Symbol.asyncDispose]();
    netns.close();
  });
}

/** A second one, and its packet rules. */
export let other: NetNs;
export let there: Nftables;

/** Gives each test of a file a second namespace. */
export function otherNamespaces(): void {
  beforeEach(() => {
    other = NetNs.create();
    there = Nftables.open({ netns: other });
  });

  afterEach(async () => {
    await there[Symbol.asyncDispose]();
    other.close();
  });
}

/** Debian's nft in it: what it prints. It must find nothing wrong. */
export function debian(input: string, ...parameters: string[]): string {
  const { status, stdout, stderr } = netns.run(() => spawnSync('nft', parameters, { encoding: 'utf8', input }));
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return stdout;
}
