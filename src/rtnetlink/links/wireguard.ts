import { LinkKind } from './kind.ts';
import type { NewLink } from './settings.ts';

/** A WireGuard device. Its keys and peers are not set here but over the generic netlink family 'wireguard', as `wg` does. */
export const wireguard = new LinkKind<'wireguard', NewLink, never>({ name: 'wireguard' });
