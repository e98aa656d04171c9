export { NetNs, type NetNsReference } from './netns.ts';
export type { Sysctl } from './sysctl.ts';
