import { expect, it } from 'vitest';
import { MemoryKernel } from '../../src/testing/index.ts';
import { corpusExists, filesLike, readJson } from '../conformance/corpus.ts';
import { IpvsWire } from '../support/ipvs-wire.ts';

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

it.runIf(corpusExists())('answers each recorded request of ipvsadm as Linux 6.1 has', async () => {
  const kernel = MemoryKernel.create({ release: '6.1' });
  const { netns } = kernel.container('recorded', { links: [{ name: 'dummy0', addresses: ['10.1.0.100/24'] }] });
  const wire = new IpvsWire(netns);
  const conversations = filesLike(/^ipvsadm.*\.json$/).flatMap(file => conversationsIn(readJson<Recording[]>(file)));
  expect(conversations.length).toBeGreaterThan(90);
  for (const { argv, request, isDump, answers, error } of conversations) {
    const said = wire.ask(request, isDump);
    // The kernel lists in the order of its hash tables.
    said.answers.sort();
    expect({ argv, ...said }).toEqual({ argv, answers: answers.toSorted(), errno: ERRNOS[error] });
  }
  await wire.close();
  netns.close();
});
