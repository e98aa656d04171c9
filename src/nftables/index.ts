export { fromJson, toJson } from '../codec/json.ts';
export type { NamedObjectOf, ObjectKinds } from './by-name.ts';
export type { Chain, ChainKey, Hook, Priority } from './chain.ts';
export type { CommitOptions, CommitResult } from './commit.ts';
export type { Data, Verdict } from './data.ts';
export type { WireElement, WireElements } from './element.ts';
export type { GivenElement } from './element-forms.ts';
export type { ElementData, ElementValue } from './element-values.ts';
export type { Expression } from './expression.ts';
export type * from './expressions/xt.ts';
export type { Family, MessageFamily } from './family.ts';
export type { ElementKey, FieldRange, FieldValue } from './field-values.ts';
export type { Flowtable, FlowtableKey } from './flowtable.ts';
export type { AttachedHook } from './hook.ts';
export { type IptablesNflog, type IptablesRedirect, iptablesNflog, iptablesRedirect } from './iptables.ts';
export * from './language/builders.ts';
export type {
  JsonChain,
  JsonCommand,
  JsonElement,
  JsonFlowtable,
  JsonObject,
  JsonRule,
  JsonSet,
  JsonSetType,
  JsonSubject,
  JsonTable,
  NftDocument,
} from './language/commands.ts';
export {
  type CompileContext,
  type CompiledRule,
  type CompiledSet,
  compileRule,
  type Origin,
} from './language/compile/compile.ts';
export { type DecompileContext, decompileRule } from './language/decompile.ts';
export type * from './language/json.ts';
export { Names, type NamesOptions, type NameTable } from './language/names.ts';
export type { JsonListed, JsonQuery, JsonReset, NftQuery } from './language/queries.ts';
export { type RulesetJson, rulesetJson } from './language/ruleset-json.ts';
export { formatRuleset } from './language/ruleset-text.ts';
export type { NameFile } from './language/tables/datatypes.ts';
export { formatRule } from './language/text.ts';
export type { ElementsOptions, ListFilter, Ruleset, RulesetFilter, SetEntry } from './listing.ts';
export { decodeMessage, encodeMessage, type MessageName, type NftMessage } from './message.ts';
export { RulesetMirror } from './mirror.ts';
export type {
  EventKind,
  Monitor,
  MonitorItem,
  MonitorOptions,
  RulePlacement,
  RulesetEvent,
  StateEvent,
  TransactionEvents,
} from './monitor.ts';
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
} from './new-objects.ts';
export { Nftables, type NftablesOptions } from './nftables.ts';
export type { NftObject, NftObjectOf, ObjectKey } from './object.ts';
export type { DesiredRuleset } from './plan/desired.ts';
export { formatPlan } from './plan/format.ts';
export { type RulesetPlan, type TableOwner, transactionOf } from './plan/plan.ts';
export type { ReconcileOptions } from './plan/reconcile.ts';
export { type ParameterType, type Prepared, prepare } from './prepare.ts';
export type { ResetReference, ResetValues } from './reset.ts';
export type { Rule, RuleEntry, RuleKey } from './rule.ts';
export type { RulesetOptions } from './ruleset.ts';
export type { NftSet, SetKey } from './set.ts';
export type { DatatypeName, SetDescription, SetType } from './set-types.ts';
export type { Table, TableKey } from './table.ts';
export type { TraceStep } from './trace.ts';
export type { Trace, TraceEvent, TraceOptions } from './tracing.ts';
export { type ChainReference, type SetReference, Transaction, type TransactionOperation } from './transaction.ts';
