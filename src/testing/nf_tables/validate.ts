import { NFT_GOTO, NFT_JUMP } from '../../linux/nf_tables.ts';
import { EMLINK, EOPNOTSUPP, refuse } from '../refusal.ts';
import { EXPRESSIONS } from './expressions/index.ts';
import type { Reached } from './expressions/type.ts';
import type { Chain, Table, Verdict } from './state.ts';

/** NFT_JUMP_STACK_SIZE */
const DEPTH = 16;

/** Walks all that base chains reach: how deep it goes, and whether each expression may be reached from there (nf_tables_validate). */
export function validate(table: Table): void {
  for (const chain of table.chains) {
    const { base } = chain;
    if (base !== undefined) walk(chain, { family: table.family, type: base.type, hook: base.hook }, 0, new Set());
  }
}

/** @param done chains that have been walked at that depth or a deeper one */
function walk(chain: Chain, reached: Reached, level: number, done: Set<string>): void {
  if (level === DEPTH) refuse(EMLINK);
  const key = `${chain.handle} ${level}`;
  if (done.has(key)) return;
  done.add(key);
  const follow = (verdict: Verdict | undefined) => {
    if (verdict?.chain !== undefined && (verdict.code === NFT_JUMP || verdict.code === NFT_GOTO))
      walk(verdict.chain, reached, level + 1, done);
  };
  for (const { expressions } of chain.rules)
    for (const expression of expressions) {
      const type = EXPRESSIONS.get(expression.name);
      if (type?.allows !== undefined && !type.allows(expression, reached)) refuse(EOPNOTSUPP);
      follow(expression.verdict);
      if (expression.name !== 'lookup' || expression.set === undefined) continue;
      for (const { verdict } of expression.set.elements.values()) follow(verdict);
      follow(expression.set.catchAll?.verdict);
    }
}
