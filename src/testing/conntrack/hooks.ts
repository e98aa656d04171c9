import { ETH_P_IPV6 } from '../../linux/if_ether.ts';
import { NF_ACCEPT, NF_DROP } from '../../linux/netfilter.ts';
import { IPS_CONFIRMED } from '../../linux/nf_conntrack_common.ts';
import type { Namespace } from '../machine/state.ts';
import { runChain } from '../packets/chain.ts';
import { type BuiltIn, type HookPath, INPUT, natChains, OUTPUT, POSTROUTING, PREROUTING } from '../packets/hooks.ts';
import type { Packet } from '../packets/packet.ts';
import type { Kernel } from './kernel.ts';
import { isDone, type Manip, setUp } from './nat.ts';
import { translate, translateError } from './rewrite.ts';
import { remove } from './table.ts';
import { confirm, track } from './track.ts';
import { isIcmp } from './tuples.ts';

const CONNTRACK_PRIORITY = -200;
const DNAT_PRIORITY = -100;
const SNAT_PRIORITY = 100;
const CONFIRM_PRIORITY = 0x7fffffff;
const DEFRAGMENT_PRIORITY = -400;

/** The hooks of connection tracking and NAT for one family, where rules of the namespace have switched them on. */
export function connectionHooks(namespace: Namespace, family: number): BuiltIn[] {
  if (!hasRule(namespace, family, GATHERING)) return [];
  const whole = (hook: number): BuiltIn => ({
    hook,
    priority: DEFRAGMENT_PRIORITY,
    run: ({ kernel }, packet) => defragment(kernel, packet),
  });
  const gathering = [whole(PREROUTING), whole(OUTPUT)];
  if (!hasRule(namespace, family, TRACKING)) return gathering;
  const tracked = (hook: number): BuiltIn => ({
    hook,
    priority: CONNTRACK_PRIORITY,
    run: ({ kernel }, packet) => look(kernel, namespace, packet, hook === PREROUTING),
  });
  const confirmed = (hook: number): BuiltIn => ({
    hook,
    priority: CONFIRM_PRIORITY,
    run: ({ kernel }, { tracked: one }) => (one === undefined || confirm(kernel, namespace, one) ? NF_ACCEPT : NF_DROP),
  });
  const hooks = [...gathering, tracked(PREROUTING), tracked(OUTPUT), confirmed(INPUT), confirmed(POSTROUTING)];
  if (![PREROUTING, INPUT, OUTPUT, POSTROUTING].some(hook => natChains(namespace, family, hook).length > 0))
    return hooks;
  const translated = (hook: number, priority: number): BuiltIn => ({
    hook,
    priority,
    run: (path, packet) => rewrite(path, family, hook, packet),
  });
  return [
    ...hooks,
    translated(PREROUTING, DNAT_PRIORITY),
    translated(OUTPUT, DNAT_PRIORITY),
    translated(INPUT, SNAT_PRIORITY),
    translated(POSTROUTING, SNAT_PRIORITY),
  ];
}

function defragment(kernel: Kernel, { bytes, protocol, fragmentOffset }: Packet): number {
  const isPart = protocol === 0x0800 ? (bytes[6]! & 0x20) !== 0 || fragmentOffset > 0 : hasFragmentHeader(bytes);
  return isPart ? kernel.notModelled('fragments, where connections are tracked: they are put together') : NF_ACCEPT;
}

/** Also around a packet that is whole: the header is taken out. */
function hasFragmentHeader(bytes: Uint8Array): boolean {
  let next = bytes[6]!;
  for (let at = 40; at + 2 <= bytes.length; ) {
    if (next === FRAGMENT_HEADER) return true;
    if (next !== 0 && next !== 43 && next !== 60) return false;
    next = bytes[at]!;
    at += (bytes[at + 1]! + 1) * 8;
  }
  return false;
}
const FRAGMENT_HEADER = 44;
const AUTHENTICATION = 51;
const NO_NEXT_HEADER = 59;

function look(kernel: Kernel, namespace: Namespace, packet: Packet, checks: boolean): number {
  if (packet.tracked !== undefined || packet.untracked) return NF_ACCEPT;
  if (packet.protocol === ETH_P_IPV6 && packet.transportProtocol === AUTHENTICATION)
    return kernel.notModelled('authentication headers, where connections are tracked');
  // "No next header" is no protocol.
  if (packet.protocol === ETH_P_IPV6 && packet.transportProtocol === NO_NEXT_HEADER) return NF_ACCEPT;
  const finding = track(kernel, namespace, packet, checks);
  delete packet.zone;
  if (finding === 'dropped') return NF_DROP;
  if (finding === 'untracked') packet.untracked = true;
  else packet.tracked = finding;
  return NF_ACCEPT;
}

/** The hook of NAT: chains are asked for the first packet of a connection, and later packets are rewritten as it was (nf_nat_inet_fn). */
function rewrite(path: HookPath, family: number, hook: number, packet: Packet): number {
  const { kernel, namespace } = path;
  const { tracked } = packet;
  if (tracked === undefined) return NF_ACCEPT;
  const manip: Manip = hook === POSTROUTING || hook === INPUT ? 'source' : 'destination';
  const { connection, direction } = tracked;
  const isFirst = tracked.state !== 'established';
  if (tracked.state === 'related' && isIcmp(packet.transportProtocol ?? 0))
    return translateError(packet, tracked, manip) ? NF_ACCEPT : NF_DROP;
  if (isFirst && (connection.status & IPS_CONFIRMED) === 0 && !isDone(connection, manip)) {
    for (const chain of natChains(namespace, family, hook)) {
      const verdict = runChain(path, chain, packet, { family, hook });
      if (verdict !== NF_ACCEPT) return verdict;
      if (isDone(connection, manip)) break;
    }
    if (!isDone(connection, manip)) setUp(namespace, connection, undefined, manip);
  } else if (
    hook === POSTROUTING &&
    direction === 0 &&
    connection.masquerade !== undefined &&
    packet.outDevice !== undefined &&
    connection.masquerade !== packet.outDevice.index
  ) {
    // It would leave by another device than the one behind which it is masqueraded.
    remove(kernel, namespace, connection);
    return NF_DROP;
  }
  translate(packet, tracked, manip);
  return NF_ACCEPT;
}

/** Whether a rule of the namespace is one of those, for a family. */
function hasRule({ nfTables }: Namespace, family: number, names: ReadonlySet<string>): boolean {
  for (const table of nfTables.tables) {
    if (table.family !== family && table.family !== 1) continue;
    for (const { rules } of table.chains)
      for (const { expressions } of rules)
        if (expressions.some(({ name, values }) => names.has(name) || names.has(`xt ${String(values.extension)}`)))
          return true;
  }
  return false;
}
/** Expressions, and matches and targets of xtables. */
const TRACKING = new Set([
  ...['ct', 'nat', 'masq', 'redir', 'connlimit', 'synproxy'],
  ...['connbytes', 'connlabel', 'connlimit', 'connmark', 'conntrack', 'helper', 'state'].map(name => `xt ${name}`),
  ...['CONNMARK', 'CT', 'DNAT', 'MASQUERADE', 'NETMAP', 'NOTRACK', 'REDIRECT', 'SNAT', 'SYNPROXY'].map(
    name => `xt ${name}`,
  ),
]);
/** These only want whole packets. */
const GATHERING = new Set([...TRACKING, 'tproxy', 'socket']);
