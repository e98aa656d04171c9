import { defineConfig } from 'tsup';

/**
 * Stands at the top of each file of declarations, so that they hold without @types/node and without the newest `lib`: `using` has its
 * symbols, and AbortSignal is known. The empty interface is merged with that of the DOM or of Node.
 */
const DECLARATIONS = `/// <reference lib="esnext.disposable" />
declare global { interface AbortSignal {} }`;

/** The two things that are built: the package, and the programs of this repository that use it as a user would. */
export default defineConfig([
  {
    name: 'package',
    entry: {
      index: 'src/index.ts',
      'netns/index': 'src/netns/index.ts',
      'ipvs/index': 'src/ipvs/index.ts',
      'nftables/index': 'src/nftables/index.ts',
      'nftables/kernel/index': 'src/nftables/kernel/index.ts',
      'nflog/index': 'src/nflog/index.ts',
      'rtnetlink/index': 'src/rtnetlink/index.ts',
      'conntrack/index': 'src/conntrack/index.ts',
      'iptables/index': 'src/iptables/index.ts',
      'container/index': 'src/container/index.ts',
      'netlink/index': 'src/netlink/index.ts',
      'balancer/index': 'src/balancer/index.ts',
      'cluster/index': 'src/cluster/index.ts',
      'testing/index': 'src/testing/index.ts',
      'cli/index': 'src/cli/index.ts',
    },
    outDir: 'dist',
    format: 'esm',
    target: 'node20',
    dts: { banner: DECLARATIONS },
    removeNodeProtocol: false,
    // packing/finish.ts does the rest of what makes it small.
    esbuildOptions(options) {
      options.minifySyntax = true;
    },
    splitting: true,
    clean: true,
  },
  {
    name: 'tools',
    entry: {
      vm: 'test/vm/main.ts',
      test: 'test/run.ts',
      matrix: 'test/matrix.ts',
      conformance: 'test/conformance/main.ts',
      bench: 'bench/main.ts',
      'ipvs-cold': 'bench/ipvs-cold.ts',
      'apply-text': 'bench/apply-text.ts',
      'restore-text': 'bench/restore-text.ts',
      fuzz: 'bench/fuzz.ts',
      house: 'bench/house.ts',
      demo: 'examples/deployment/main.ts',
      finish: 'packing/finish.ts',
      pack: 'packing/pack.ts',
      sizes: 'packing/sizes.ts',
    },
    outDir: 'build',
    format: 'esm',
    target: 'node20',
    sourcemap: true,
    splitting: true,
    clean: true,
    // The programs import the package by its name, through its own `exports`, as its users do.
    external: [/^netsteer/, 'pino', 'typescript', 'esbuild', 'rolldown'],
  },
]);
