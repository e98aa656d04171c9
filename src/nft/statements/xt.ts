import type { Construct } from './construct.ts';

/* Matches and targets of iptables: nft prints their names, and reads none. */

export interface XtStatement {
  kind: 'xt';
  type: 'match' | 'target' | 'watcher';
  name: string;
}

/** Targets that ebtables calls watchers. */
const WATCHERS = ['log', 'nflog'];

export const XT: Construct<XtStatement> = {
  compile: {},
  fromText: {
    xt(p) {
      const { start } = p;
      p.string();
      p.string();
      return p.fail('unsupported xtables compat expression, use iptables-nft with this ruleset', start);
    },
  },
  read: {
    match: (_, { name }) => ({ kind: 'xt', type: 'match', name }),
    target: ({ family }, { name }) => ({
      kind: 'xt',
      type: family === 'bridge' && WATCHERS.includes(name) ? 'watcher' : 'target',
      name,
    }),
  },
  text({ type, name }, { words }) {
    words.unwritable.note('a match or target of iptables');
    return `xt ${type} ${words.unwritable.quoted(name)}`;
  },
  json: ({ type, name }) => ({ xt: { type, name } }),
};
