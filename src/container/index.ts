export { Container, type ContainerOptions } from './container.ts';
export type { Ability, AbilityName, Preflight } from './preflight.ts';
