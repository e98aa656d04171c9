import * as Nft from '../../../src/linux/nf_tables.ts';
import type { KernelSide } from './kernel-side.ts';
import { INET, IP } from './names.ts';
import { SETS } from './sets.ts';
import { dumpOf, elementsDump, foundation, type Step } from './transactions.ts';
import { type Attribute, batchBytes, type Message, requestBytes } from './wire.ts';

/* The same conversation with two kernels: their answers, echoes and events, and what they have at the end. */

const DUMPS = [
  Nft.NFT_MSG_GETTABLE,
  Nft.NFT_MSG_GETCHAIN,
  Nft.NFT_MSG_GETRULE,
  Nft.NFT_MSG_GETSET,
  Nft.NFT_MSG_GETOBJ,
  Nft.NFT_MSG_GETFLOWTABLE,
  Nft.NFT_MSG_GETGEN,
];
const FIRST_SEQUENCE = 1000;
const SEQUENCES = 100;

/** How many operations a conversation has. */
export const operationsOf = (steps: readonly Step[]): number =>
  steps.reduce((sum, step) => sum + (step.kind === 'batch' ? step.messages.length : 1), 0);

/** All that a kernel says. Which datagrams it comes in is left out: set types have other names on other kernels. */
export function conversation(kernel: KernelSide, steps: readonly Step[]): string[] {
  const lines: string[] = [];
  const tell = (prefix: string, said: readonly string[]) => {
    for (const line of said) if (line !== '--') lines.push(`${prefix} ${line}`);
  };
  tell('foundation', kernel.ask(batchBytes(foundation(), 1)));
  kernel.events();
  for (const [i, step] of steps.entries()) {
    const sequence = FIRST_SEQUENCE + SEQUENCES * i;
    const datagram =
      step.kind === 'batch' ? batchBytes(step.messages, sequence, step) : requestBytes(step.message, sequence);
    tell(`${i}`, kernel.ask(datagram));
    tell(`${i} event`, kernel.events());
  }
  for (const type of DUMPS) tell('end', kernel.ask(requestBytes(dumpOf(type), 1)));
  for (const family of [INET, IP])
    for (const { name, flags } of SETS) {
      const said = kernel.ask(requestBytes(elementsDump({ family, table: 't' }, name), 1));
      // Hashes have an order of their own.
      tell(`end ${name}`, (flags & Nft.NFT_SET_INTERVAL) === 0 ? said.map(sorted) : said);
    }
  return lines;
}

const sorted = (line: string): string =>
  line.replace(/\[\{(.*)\}\]/, (_, elements: string) => `[{${elements.split('} {').sort().join('} {')}}]`);

/** Where two kernels differ first; undefined where they say the same. */
export function difference(
  expected: readonly string[],
  actual: readonly string[],
  steps: readonly Step[],
): string | undefined {
  const at = expected.findIndex((line, i) => line !== actual[i]);
  if (at < 0 && expected.length === actual.length) return undefined;
  const from = at < 0 ? expected.length : at;
  const around = (lines: readonly string[]) => lines.slice(Math.max(0, from - 2), from + 3).join('\n         ');
  const number = Number(/^\d+/.exec(expected[from] ?? actual[from] ?? '')?.[0]);
  const step = steps[number];
  return `kernel   ${around(expected)}\n  memory   ${around(actual)}\n  step ${number}: ${step === undefined ? '' : printed(step)}`;
}

const printed = (step: Step): string =>
  step.kind === 'get' ? message(step.message) : step.messages.map(each => `\n    ${message(each)}`).join('');

const message = ({ type, flags, family, attributes }: Message): string =>
  `${type} flags ${flags.toString(16)} family ${family} ${list(attributes)}`;

const list = (attributes: readonly Attribute[]): string =>
  attributes
    .map(
      ([type, value]) =>
        `${type}:${value instanceof Uint8Array ? Buffer.from(value).toString('hex') : `[${list(value)}]`}`,
    )
    .join(' ');
