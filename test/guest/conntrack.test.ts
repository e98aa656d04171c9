/* The same tests as on the host: kernels differ in their filters, and in which flows have room for labels. */
import '../kernel/conntrack.test.ts';
