import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { sourceOf } from '../../src/codec/index.ts';
import * as decompile from '../../src/iptables/decompile.ts';
import { formatRule } from '../../src/iptables/format-rule.ts';
import { IptablesError, type IptablesFamily } from '../../src/iptables/index.ts';
import { restoreText } from '../../src/iptables/restore.ts';
import { SavedRules } from '../../src/iptables/saved-rules.ts';
import { RulesetState } from '../../src/iptables/state.ts';
import { type Message, messageAt } from '../../src/netlink/index.ts';
import { readObject } from '../../src/nf_tables/message.ts';
import { Names } from '../../src/nftables/index.ts';
import { iptablesForms } from '../support/iptables-forms.ts';

const names = new Names({ readFile: () => undefined });
const noName = () => undefined;

/** The messages of the rules of those lines that iptables takes, as a dump has them. */
function messagesOf(lines: readonly string[], family: IptablesFamily): Message[] {
  const head = '*filter\n:INPUT ACCEPT [0:0]\n:ours - [0:0]\n:mine - [0:0]\n:them - [0:0]\n';
  const right = lines.filter(line => {
    try {
      restoreText(
        `${head}${line}\nCOMMIT\n`,
        new RulesetState(family, names, { generation: 1, tables: [], chains: [] }),
      );
      return true;
    } catch (error) {
      if (error instanceof IptablesError) return false;
      throw error;
    }
  });
  const state = new RulesetState(family, names, { generation: 1, tables: [], chains: [] });
  restoreText(`${head}${right.join('\n')}\nCOMMIT\n`, state, { counters: false });
  const { bytes, messages } = state.transaction.encode();
  const source = sourceOf(bytes);
  return Array.from({ length: messages.length }, (_, i) => messages.at(i)!)
    .filter(({ name }) => name === 'newrule')
    .map(({ start, end }) => messageAt(source, start, end));
}

const CHAINS = ['INPUT', 'FORWARD', 'ours', 'mine', 'them'];

/** The lines of each chain, of rules that are read as objects one by one. */
function asObjects(messages: readonly Message[], family: IptablesFamily, counters: boolean): string[] {
  const texts = new Map<string, string>();
  for (const message of messages) {
    const entry = readObject('newrule', message, undefined);
    const rule = decompile.decompileRule(entry, family)!;
    const line = formatRule(rule, { family, names }, counters ? { counters: 'front' } : {});
    texts.set(entry.chain, `${texts.get(entry.chain) ?? ''}${line}\n`);
  }
  return CHAINS.map(chain => texts.get(chain) ?? '');
}

function saved(messages: readonly Message[], family: IptablesFamily, counters: boolean): (string | undefined)[] {
  const rules = new SavedRules({ family, names }, counters, noName);
  for (const message of messages) rules.read(message);
  return CHAINS.map(chain => rules.text('filter', chain));
}

describe('The rules of a dump', () => {
  it.each(['ipv4', 'ipv6'] as const)('of %s are the lines that they are when each is read as an object', family => {
    const line = fc.oneof(...iptablesForms(family).map(each => fc.array(each, { minLength: 4, maxLength: 20 })));
    fc.assert(
      fc.property(line, line, fc.boolean(), (some, others, counters) => {
        const messages = messagesOf([...some, ...others, ...some], family);
        expect(saved(messages, family, counters)).toEqual(asObjects(messages, family, counters));
      }),
      { numRuns: 25 },
    );
  });

  it('are read as objects a few times only: of 2,000, with other addresses, ports and remarks', () => {
    const lines = Array.from(
      { length: 2000 },
      (_, i) =>
        `-A INPUT -s 10.0.${i >> 8}.${i & 255} -p tcp -m tcp --dport ${i + 1} -m comment --comment "rule ${i}" -j ours`,
    );
    const messages = messagesOf(lines, 'ipv4');
    const whole = vi.spyOn(decompile, 'decompileRule');
    const [input] = saved(messages, 'ipv4', false);
    expect(input).toBe(`${lines.map(line => line.replace(/(-s \S+)/, '$1/32')).join('\n')}\n`);
    expect(whole.mock.calls.length).toBeGreaterThan(1);
    expect(whole.mock.calls.length).toBeLessThan(20);
    whole.mockRestore();
  });

  it('with the bytes of a form, and others where no rule differs, are another rule', () => {
    const lines = Array.from(
      { length: 9 },
      (_, i) => `-A INPUT -p tcp -m tcp --dport ${i + 1} -j ${i === 6 ? 'DROP' : 'ACCEPT'}`,
    );
    expect(saved(messagesOf(lines, 'ipv4'), 'ipv4', false)[0]).toBe(`${lines.join('\n')}\n`);
  });

  it('are no lines of a chain that has one for which iptables has no words', () => {
    const [message] = messagesOf(['-A INPUT -s 10.0.0.1 -j ACCEPT'], 'ipv4');
    const bytes = message!.source.bytes.slice(message!.start, message!.end);
    // The offset of the source address, which becomes that of the checksum.
    const at = Buffer.from(bytes).indexOf(Buffer.from([8, 0, 3, 0, 0, 0, 0, 12]));
    bytes[at + 7] = 10;
    const strange = messageAt(sourceOf(bytes), 0, bytes.length);
    expect(saved([message!, message!, message!, strange], 'ipv4', false)[0]).toBeUndefined();
  });
});
