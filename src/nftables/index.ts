export { fromJson, toJson } from '../codec/json.ts';
export type { AnyMessageName as MessageName } from '../nf_tables/all-messages.ts';
export type { Chain, ChainKey, ChainType, Hook, Priority, PriorityName } from '../nf_tables/chain.ts';
export type { Data, Verdict } from '../nf_tables/data.ts';
export type { WireElement, WireElements } from '../nf_tables/element.ts';
export type { Expression } from '../nf_tables/expression.ts';
export type {
  XtAddrtypeInfo,
  XtCommentInfo,
  XtConntrackInfo,
  XtLogInfo,
  XtMarkInfo,
  XtMatch,
  XtMultiportInfo,
  XtNatInfo,
  XtNflogInfo,
  XtTarget,
  XtTcpInfo,
  XtUdpInfo,
} from '../nf_tables/expressions/xt.ts';
export type { Family, MessageFamily } from '../nf_tables/family.ts';
export type { Flowtable, FlowtableKey } from '../nf_tables/flowtable.ts';
export type { AttachedHook } from '../nf_tables/hook.ts';
export type { NftObject, NftObjectOf, ObjectKey } from '../nf_tables/object.ts';
export type { RuleEntry, RuleKey } from '../nf_tables/rule.ts';
export type { NftSet, SetKey } from '../nf_tables/set.ts';
export type { Table, TableKey } from '../nf_tables/table.ts';
export type { TraceStep } from '../nf_tables/trace.ts';
export { decodeMessage, encodeMessage, type NftMessage } from '../nf_tables/whole-message.ts';
export {
  type CompileContext,
  type CompiledRule,
  type CompiledSet,
  compileRule,
  type SourceMap,
} from '../nft/compile/compile.ts';
export type { SetFlag } from '../nft/compile/named-set.ts';
export type { NameFile } from '../nft/data/datatypes.ts';
export { type DecompileContext, decompileRule } from '../nft/decompile.ts';
export type { GivenElement } from '../nft/element-forms.ts';
export type { ElementData, ElementValue } from '../nft/element-values.ts';
export type { ElementKey, FieldRange, FieldValue } from '../nft/field-values.ts';
export type * from '../nft/json.ts';
export type * from '../nft/json-commands.ts';
export { Names, type NamesOptions, type NameTable } from '../nft/names.ts';
export {
  type IncludePlace,
  NftSyntaxError,
  type SyntaxProblem,
} from '../nft/parse/source.ts';
export { type ParseRuleOptions, parseRule } from '../nft/parse-rule.ts';
export type { Rule } from '../nft/rule.ts';
export { type RulesetJson, rulesetJson } from '../nft/ruleset-json.ts';
export { formatRuleset } from '../nft/ruleset-text.ts';
export * from '../nft/selectors.ts';
export type { DatatypeName, SetDescription, SetType } from '../nft/set-types.ts';
export * from '../nft/statement-builders.ts';
export type { CounterState } from '../nft/statements/counter.ts';
export type { CtCount } from '../nft/statements/ct-count.ts';
export type { MapStatement, SetOperation, SetStatement } from '../nft/statements/dynamic-set.ts';
export type { LastState } from '../nft/statements/last.ts';
export type { Limit } from '../nft/statements/limit.ts';
export type { Log, LogFlag, LogLevel } from '../nft/statements/log.ts';
export type { Match, MatchOperator } from '../nft/statements/match.ts';
export type { AddressNat, NatFlag, NatTypeFlag, PortNat } from '../nft/statements/nat.ts';
export type { QueueFlag } from '../nft/statements/queue.ts';
export type { Quota } from '../nft/statements/quota.ts';
export type { OwnChain, Statement } from '../nft/statements/registry.ts';
export type { Reject, RejectCode } from '../nft/statements/reject.ts';
export type { ObjectReferenceExpression, Stateful } from '../nft/statements/stateful.ts';
export type { SynproxyFlag, SynproxyOptions } from '../nft/statements/synproxy.ts';
export type { ByteUnit, TimeUnit } from '../nft/statements/units.ts';
export { formatRule } from '../nft/text.ts';
export { type IptablesNflog, type IptablesRedirect, iptablesNflog, iptablesRedirect } from './iptables.ts';
export { Nftables } from './nftables.ts';
export type { NftablesOptions } from './open.ts';
export {
  type ChainFields,
  type ChainPlace,
  type ElementFields,
  type MapFields,
  type MapPlace,
  type PlacedRule,
  type RuleFields,
  type SetFields,
  type SetPlace,
  type TableFields,
  type TablePlace,
  table,
} from './places.ts';
export type { DesiredRuleset } from './plan/desired.ts';
export { formatPlan, type RulesetPlan, type TableOwner, transactionOf } from './plan/plan.ts';
export type { ReconcileOptions } from './plan/reconcile.ts';
export type { PlanScope } from './plan/scope.ts';
export type { JsonListed, JsonQuery, JsonReset, NftQuery } from './queries.ts';
export type { NamedObjectOf, ObjectKinds } from './read/by-name.ts';
export type { ElementsOptions } from './read/elements.ts';
export type { ListFilter, Ruleset, RulesetFilter, SetEntry } from './read/listing.ts';
export type { ReadingOptions } from './read/reading.ts';
export type { ResetReference, ResetValues } from './read/reset.ts';
export type { RuleFilter, RuleIteration } from './read/rule-iteration.ts';
export type { RulesetOptions } from './read/ruleset.ts';
export { parseRuleset, type RulesetTextOptions, type TextOptions } from './script.ts';
export { RulesetMirror } from './watch/mirror.ts';
export type {
  EventKind,
  Monitor,
  MonitorItem,
  MonitorOptions,
  RulePlacement,
  RulesetEvent,
  StateEvent,
  TransactionEvents,
} from './watch/monitor.ts';
export type { Trace, TraceEvent, TraceOptions } from './watch/tracing.ts';
export type { CommitOptions, CommitResult } from './write/commit.ts';
export type {
  ChainRename,
  CreatedObject,
  ElementsReference,
  FlushReference,
  NewElements,
  NewMap,
  NewObject,
  NewObjectOf,
  NewSet,
  ObjectReference,
  ReplacedRule,
  RuleReference,
} from './write/new-objects.ts';
export { type ParameterType, type Prepared, prepare } from './write/prepare.ts';
export { type ChainReference, type SetReference, Transaction, type TransactionOperation } from './write/transaction.ts';
