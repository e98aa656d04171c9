export { fromJson, toJson } from './codec/json.ts';
export * from './container/index.ts';
export {
  type ArgumentError,
  BatchError,
  type BatchFailure,
  type BatchOutcome,
  DecodeError,
  isExists,
  isNotFound,
  isPermission,
  NetlinkError,
  NetNsError,
  type Path,
  type StateCode,
  StateError,
  UnsupportedError,
} from './errors.ts';
export * from './ipvs/index.ts';
export * from './netns/index.ts';
export * from './nflog/index.ts';
export {
  type Chain,
  type ChainKey,
  type CommitOptions,
  compileRule,
  type Data,
  type DecompileContext,
  decompileRule,
  type Expression,
  type Family,
  formatRule,
  formatRuleset,
  Nftables,
  type NftablesOptions,
  NftSyntaxError,
  parseRule,
  type Rule,
  type RuleEntry,
  type RuleKey,
  type Ruleset,
  type RulesetFilter,
  type RulesetJson,
  type RulesetOptions,
  rulesetJson,
  type Statement,
  type Table,
  type TableKey,
  Transaction,
  type Verdict,
} from './nftables/index.ts';
export type { Logger, RequestTrace } from './observe.ts';
export * from './rtnetlink/index.ts';
