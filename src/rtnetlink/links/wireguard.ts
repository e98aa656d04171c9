import { LinkKind } from './kind.ts';
import type { NewLink } from './settings.ts';

/** A WireGuard device. To set its keys and peers, use the generic netlink family 'wireguard', as `wg` does. */
export const wireguard = new LinkKind<'wireguard', NewLink, never>({ name: 'wireguard' });
