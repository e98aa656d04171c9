import { checkObject } from '../codec/index.ts';
import { typeError } from '../errors.ts';
import { Nftables, type NftDocument, type Ruleset, transactionOf } from '../nftables/index.ts';
import { planOf } from '../nftables/plan/plan.ts';
import type { LinkOptions } from './devices.ts';
import type { PacketResult } from './memory-container.ts';
import { MemoryKernel } from './memory-kernel.ts';
import { bytesOfPacket, describePacket, type PacketInput } from './test-packet.ts';

/** Where the simulated packet comes in. */
export interface SimulateOptions {
  /** The name of the device by which it comes in; 'eth0' by default. */
  readonly on?: string;
  /** The devices of the host. By default it has the one by which the packet comes in, with the packet's destination as its address. */
  readonly links?: readonly LinkOptions[];
}

/** The nf_tables ruleset as text, JSON of nft, or as it was read. */
export type SimulatedRuleset = Ruleset | NftDocument | string;

/**
 * Sends one packet through a ruleset, and tells what becomes of it and which rules matched: "why is this dropped?". The ruleset may be read from
 * a real kernel, or written as text.
 * @param ruleset what `nft.ruleset({ elements: true })` returns, the text of `nft list ruleset`, or its JSON
 * @param packet one of `tcp()`, `udp()`, `icmp()` and `frame()`
 * @param options the device by which it comes in, and the devices of the host
 * @throws NftSyntaxError the text is no ruleset
 * @throws BatchError the kernel would refuse the ruleset
 * @throws UnsupportedError the packet meets what the kernel in memory does not model
 * @example
 * const { verdict, steps } = simulate(await nft.ruleset({ elements: true }), tcp({ from: '10.0.0.1:40000', to: '10.0.0.2:22' }));
 * console.log(verdict, steps.at(-1));
 */
export function simulate(ruleset: SimulatedRuleset, packet: PacketInput, options: SimulateOptions = {}): PacketResult {
  if (typeof ruleset !== 'string' && (typeof ruleset !== 'object' || ruleset === null))
    throw typeError(['ruleset'], 'a ruleset, as it was read, as text or as JSON', ruleset);
  checkObject(options, ['options'], ['on', 'links']);
  const { on = 'eth0', links } = options;
  const { to } = describePacket(bytesOfPacket(packet));
  const address = /^\[(.*)\]/.exec(to)?.[1] ?? (to.includes('.') ? to.replace(/:\d+$/, '') : to);
  const kernel = MemoryKernel.create({ release: '6.18' });
  const container = kernel.container('simulated', { links: links ?? [{ name: on, addresses: [address] }] });
  using nft = Nftables.open({ netns: container.netns });
  if (typeof ruleset === 'string' || 'nftables' in ruleset) nft.sync.apply(ruleset);
  else nft.sync.commit(transactionOf(planOf(nft.sync.ruleset({ elements: true }), ruleset, { prefix: '' })));
  const result = container.receive(packet, { on });
  container.netns.close();
  return result;
}
