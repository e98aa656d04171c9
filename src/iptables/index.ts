export { IptablesError, type IptablesErrorDetails } from './error.ts';
export type {
  IptablesAddress,
  IptablesChain,
  IptablesCounters,
  IptablesExtension,
  IptablesFamily,
  IptablesInterface,
  IptablesRule,
  IptablesRuleset,
  IptablesTable,
  IptablesVerdict,
} from './model.ts';
