export { IptablesError, type IptablesErrorDetails } from './error.ts';
export { Iptables, type IptablesOptions } from './iptables.ts';
export type { IptablesOperations, IptablesOutput, RestoreOptions, SaveOptions } from './iptables-operations.ts';
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
export { formatIptables, type ParseIptablesOptions, parseIptables } from './text.ts';
export { type NftTranslation, toNft, type Untranslated } from './to-nft.ts';
