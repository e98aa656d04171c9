import { fromHex, HOST_IS_LITTLE_ENDIAN, sourceOf, toHex } from '../../src/codec/index.ts';
import { messagesIn, NLMSG_HDRLEN, nfgenmsg } from '../../src/netlink/index.ts';
import { decodeMessage, encodeMessage } from '../../src/nftables/index.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { differenceOf } from './tree.ts';

/** What the cases of nft and iptables-nft have in common: what was sent, and what the kernel gave back. */
interface Case {
  name?: string;
  t?: string;
  line?: number;
  rule?: string;
  args?: string;
  family?: string;
  cmd?: string;
  sent?: string[];
  dump?: string[];
}

/** Way 1: every recorded message survives decoding and encoding. */
export function codec(): Outcome[] {
  return filesLike(/-(rules|rulesets)\.jsonl\.gz$/).map(file => {
    // Some rules were refused by the nft that recorded: nothing was sent for them.
    const cases = readLines<Case>(file).filter(one => messagesOf(one).length > 0);
    return tryAll('codec', file, cases, nameOf, one => {
      for (const [i, datagram] of messagesOf(one).entries()) {
        const difference = survives(datagram);
        if (difference !== undefined) return `datagram ${i}, ${difference}`;
      }
      return undefined;
    });
  });
}

function messagesOf({ sent, dump }: Case): string[] {
  return [...(sent ?? []), ...(dump ?? [])];
}

function nameOf({ name, t, line, rule, args, family, cmd }: Case): string {
  return name ?? `${t}:${line} ${family ?? cmd}: ${rule ?? args}`;
}

function survives(hex: string): string | undefined {
  const bytes = fromHex(hex);
  if (bytes === undefined) return `not hex: ${hex}`;
  const body = NLMSG_HDRLEN + nfgenmsg.size;
  for (const { start, end } of messagesIn(sourceOf(bytes))) {
    const before = bytes.subarray(start, end);
    const message = decodeMessage(before);
    const after = encodeMessage(message);
    // The header without its length and the sender's port: both are the transport's.
    const headers = [before, after].map(m => toHex(m, 4, 12) + toHex(m, NLMSG_HDRLEN, body));
    if (headers[0] !== headers[1]) return `${message.type}: header ${headers[0]} became ${headers[1]}`;
    // What is behind the message's length is padding.
    const length = sourceOf(after).view.getUint32(0, HOST_IS_LITTLE_ENDIAN);
    const difference = differenceOf(before.subarray(body), after.subarray(body, length));
    if (difference !== undefined) return `${message.type}: ${difference}`;
  }
  return undefined;
}
