import { LinkKind, type SettingsOf } from './kind.ts';
import { type Macvlan, type MacvlanData, macvlanSpec } from './macvlan.ts';
import type { NewLink } from './settings.ts';

/** A new macvtap: a macvlan whose packets a program reads and writes as a file, /dev/tapN, where N is the device's index. */
export type NewMacvtap = NewLink & {
  /** The device below, in the namespace of the handle. */
  link: string;
} & SettingsOf<'macvtap', Macvlan>;

export const macvtap = new LinkKind<'macvtap', NewMacvtap, MacvlanData>({ ...macvlanSpec, name: 'macvtap' });
