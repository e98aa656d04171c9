import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { IptablesError, type IptablesFamily } from '../../src/iptables/index.ts';
import { restoreText } from '../../src/iptables/restore.ts';
import { RuleLines } from '../../src/iptables/rule-lines.ts';
import { RulesetState } from '../../src/iptables/state.ts';
import { Names } from '../../src/nftables/index.ts';
import { iptablesForms } from '../support/iptables-forms.ts';

const names = new Names({ readFile: () => undefined });
const NOTHING = { generation: 1, tables: [], chains: [] };

interface Restored {
  bytes?: string;
  operations?: readonly unknown[];
  origins?: readonly unknown[];
  error?: string;
  line?: number | undefined;
}

/** What a text makes; `whole`: each line is read as a command. */
function restored(text: string, family: IptablesFamily, counters: boolean, whole: boolean): Restored {
  const state = new RulesetState(family, names, NOTHING);
  const copying = whole ? vi.spyOn(RuleLines.prototype, 'append').mockReturnValue(false) : undefined;
  try {
    restoreText(text, state, { counters });
  } catch (error) {
    if (!(error instanceof IptablesError)) throw error;
    return { error: error.message, line: state.line };
  } finally {
    copying?.mockRestore();
  }
  const { bytes } = state.transaction.encode();
  return {
    bytes: Buffer.from(bytes).toString('hex'),
    operations: state.transaction.operations.map(({ verb, kind, subject }) => ({
      verb,
      kind,
      subject: (subject as Record<string, unknown>)[kind],
    })),
    origins: state.origins.map(({ line, operation, table, chain }) => ({ line, operation, table, chain })),
  };
}

function sameAsCommands(lines: readonly string[], family: IptablesFamily, counters: boolean): Restored {
  const text = `*filter\n:INPUT ACCEPT [0:0]\n:ours - [0:0]\n:mine - [0:0]\n:them - [0:0]\n${lines.join('\n')}\nCOMMIT\n`;
  const fast = restored(text, family, counters, false);
  expect(fast).toEqual(restored(text, family, counters, true));
  return fast;
}

const isRight = (line: string, family: IptablesFamily): boolean =>
  restored(`*filter\n:ours -\n:mine -\n:them -\n${line}\nCOMMIT\n`, family, true, true).error === undefined;

describe('Lines of one form', () => {
  it.each(['ipv4', 'ipv6'] as const)('are the rules of %s that they are when each is read as a command', family => {
    const copied = vi.spyOn(RulesetState.prototype, 'appendWritten');
    const line = fc.oneof(...iptablesForms(family).map(each => fc.array(each, { minLength: 5, maxLength: 20 })));
    fc.assert(
      fc.property(line, line, fc.boolean(), (some, others, counters) => {
        // A wrong line ends the reading: the right ones are also read without it.
        const right = [...some, ...others].filter(each => isRight(each, family));
        sameAsCommands(right, family, counters);
        sameAsCommands([...right, ...right, ...some, ...others], family, counters);
      }),
      { numRuns: 30 },
    );
    expect(copied.mock.calls.length).toBeGreaterThan(600);
    copied.mockRestore();
  });

  it('take the addresses, ports, texts, chains and counters of each line', () => {
    const lines = Array.from(
      { length: 50 },
      (_, i) =>
        `[${i}:${i * 100}] -A ${i % 3 === 0 ? 'mine' : 'ours'} -s 10.${i}.0.0/16 -p tcp -m tcp --dport ${i + 1} -m comment --comment "rule ${i}" -j ${i % 2 === 0 ? 'mine' : 'ours'}`,
    );
    const { bytes } = sameAsCommands(lines, 'ipv4', true);
    expect(bytes).toContain(Buffer.from('rule 49').toString('hex'));
  });

  it('are read as commands again after a command has removed a chain that they name', () => {
    const lines = Array.from({ length: 9 }, (_, i) => `-A INPUT -s 10.0.0.${i} -j mine`);
    const text = ['*filter', ':INPUT ACCEPT', ':mine -', ...lines, '-F', '-E mine yours', lines[0], 'COMMIT', ''].join(
      '\n',
    );
    const { error, line: number } = restored(text, 'ipv4', false, false);
    expect(error).toBe("Chain 'mine' does not exist");
    // iptables looks for the chain when it has read the table to its end.
    expect(number).toBe(16);
  });

  it('cost no command each: of 2,000 lines a few are read as a whole', () => {
    const state = new RulesetState('ipv4', names, NOTHING);
    const compiled = vi.spyOn(state, 'written');
    const lines = Array.from(
      { length: 2000 },
      (_, i) =>
        `-A INPUT -s 10.0.${i >> 8}.${i & 255} -p tcp --dport ${i + 1} -m comment --comment "rule ${i}" -j ACCEPT`,
    );
    restoreText(`*filter\n:INPUT ACCEPT\n${lines.join('\n')}\nCOMMIT\n`, state);
    expect(state.transaction.length).toBe(2003);
    expect(compiled.mock.calls.length).toBeLessThan(40);
  });
});
