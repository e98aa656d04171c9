import { expect, it } from 'vitest';
import { fromHex } from '../../src/codec/index.ts';
import { commandTable } from '../../src/ip_vs/attributes.ts';
import { IPVS_CMD_GET_INFO } from '../../src/linux/ip_vs.ts';
import { NETLINK_GENERIC, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from '../../src/linux/netlink.ts';
import { Exchange, GenericFamily, NetlinkSocket } from '../../src/netlink/index.ts';
import { runNow } from '../../src/netlink/operation.ts';
import { MemoryKernel } from '../../src/testing/index.ts';
import { corpusExists, filesLike, readJson } from '../conformance/corpus.ts';

interface Recording {
  argv: string;
  msgs: { dir: 'req' | 'rep'; type: string; flags: string; payload: string | null; error: string | null }[];
}

/** A request of ipvsadm, and what the kernel said to it. */
interface Conversation {
  argv: string;
  request: string;
  isDump: boolean;
  answers: string[];
  error: string;
}

function conversationsIn(recordings: readonly Recording[]): Conversation[] {
  const all: Conversation[] = [];
  for (const { argv, msgs } of recordings)
    for (const { dir, type, flags, payload, error } of msgs) {
      if (dir === 'req')
        all.push({ argv, request: payload!, isDump: flags.includes('0x300'), answers: [], error: '0' });
      else if (type === 'IPVS') all.at(-1)!.answers.push(payload!);
      else if (error !== null && error !== '0') all.at(-1)!.error = error;
    }
  return all;
}

const ERRNOS: Readonly<Record<string, number>> = { '0': 0, '-ENOENT': -2, '-ESRCH': -3, '-EEXIST': -17 };

/** Says something to the kernel in memory, and hears what it answers. */
function asked(socket: NetlinkSocket, family: number, { request, isDump }: Conversation) {
  const payload = fromHex(request)!;
  const bytes = Buffer.alloc(16 + payload.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(family, 4);
  bytes.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK | (isDump ? NLM_F_DUMP : 0), 6);
  bytes.set(payload, 16);
  socket.send(bytes, bytes.length);
  const answers: string[] = [];
  let errno: number | undefined;
  const into = Buffer.alloc(65_536);
  for (let length = socket.receive(into); length > 0; length = socket.receive(into))
    for (let at = 0; at < length; ) {
      const size = into.readUInt32LE(at);
      const type = into.readUInt16LE(at + 4);
      if (type === family) answers.push(into.toString('hex', at + 16, at + size));
      else errno = into.readInt32LE(at + 16);
      at += (size + 3) & ~3;
    }
  return { answers: answers.sort(), errno };
}

it.runIf(corpusExists())('answers each recorded request of ipvsadm as Linux 6.1 has', async () => {
  const kernel = MemoryKernel.create({ release: '6.1' });
  const netns = kernel.container('recorded', { links: [{ name: 'dummy0', addresses: ['10.1.0.100/24'] }] }).netns;
  const socket = new NetlinkSocket({ netns, protocol: NETLINK_GENERIC });
  const exchange = new Exchange(socket, 'ipvs');
  const family = runNow(
    new GenericFamily(exchange, { name: 'IPVS', version: 1, table: commandTable, missing: '' }).id(),
  );
  const conversations = filesLike(/^ipvsadm.*\.json$/).flatMap(file => conversationsIn(readJson<Recording[]>(file)));
  expect(conversations.length).toBeGreaterThan(90);
  expect(conversations.some(({ request }) => request.startsWith(IPVS_CMD_GET_INFO.toString(16).padStart(2, '0')))).toBe(
    true,
  );
  for (const each of conversations) {
    const { answers, errno } = asked(socket, family, each);
    expect({ argv: each.argv, answers, errno }).toEqual({
      argv: each.argv,
      answers: each.answers.toSorted(),
      errno: ERRNOS[each.error],
    });
  }
  await socket.close();
  netns.close();
});
