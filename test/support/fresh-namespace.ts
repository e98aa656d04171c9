import { NetNs, Nftables } from 'netsteer';
import { afterEach, beforeEach } from 'vitest';

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
