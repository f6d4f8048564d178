// SPDX-License-Identifier: Apache-2.0
import java.io.RandomAccessFile;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Work for a JVM that is the same in every run: threads, locks, monitors, garbage, compiled code
 * that is thrown away again, null pointers caught as the JVM does it (by SIGSEGV), and short
 * threads. Each round checks itself; the file gets a line a round, and a last one.
 *
 * Work FILE ROUNDS
 */
public final class Work {
    static final int THREADS = 4;

    interface Shape {
        long area(long x);
    }

    static final class Square implements Shape {
        public long area(long x) {
            return x * x;
        }
    }

    static final class Line implements Shape {
        public long area(long x) {
            return x;
        }
    }

    static final class Cell {
        Cell next;
        byte[] ballast;
        long value;
    }

    static void check(boolean good, String what) {
        if (!good) {
            throw new IllegalStateException(what);
        }
    }

    /** Objects of all ages and sizes, most of them garbage soon. */
    static long garbage(int seed) {
        Cell head = null;
        long sum = 0;
        for (int i = 0; i < 20_000; i++) {
            Cell c = new Cell();
            c.ballast = new byte[(i * 31 + seed) % 256];
            c.value = i;
            if (i % 16 == 0) {
                c.next = head;
                head = c;
            }
        }
        for (Cell c = head; c != null; c = c.next) {
            sum += c.value + c.ballast.length;
        }
        return sum;
    }

    /** Null checks that are none in compiled code: the processor finds the null. */
    static long nulls(int n) {
        long caught = 0;
        for (int i = 0; i < n; i++) {
            Cell c = i % 7 == 0 ? null : new Cell();
            try {
                c.value = i;
            } catch (NullPointerException e) {
                caught++;
            }
        }
        return caught;
    }

    /** Compiled for one class, then for another: the first code is given up. */
    static long shapes(Shape s, int n) {
        long sum = 0;
        for (int i = 0; i < n; i++) {
            sum += s.area(i);
        }
        return sum;
    }

    static long exceptions(int depth) {
        if (depth == 0) {
            throw new ArithmeticException("bottom");
        }
        try {
            return exceptions(depth - 1) + 1;
        } finally {
            sink++;
        }
    }

    static volatile long sink;

    static double numbers(int n) {
        double[] a = new double[n];
        for (int i = 0; i < n; i++) {
            a[i] = Math.sin(i) * Math.sqrt(i + 1);
        }
        double sum = 0;
        for (int k = 0; k < 4; k++) {
            for (int i = 1; i < n; i++) {
                a[i] = a[i] * 0.5 + a[i - 1] * 0.25;
            }
        }
        for (double d : a) {
            sum += d;
        }
        return sum;
    }

    static long contended(ExecutorService pool, int n) throws Exception {
        ReentrantLock lock = new ReentrantLock();
        Object monitor = new Object();
        long[] counts = new long[2];
        AtomicLong atomic = new AtomicLong();
        ConcurrentHashMap<Integer, Long> map = new ConcurrentHashMap<>();
        CyclicBarrier barrier = new CyclicBarrier(THREADS);
        List<Future<?>> all = new ArrayList<>();
        for (int t = 0; t < THREADS; t++) {
            all.add(pool.submit(() -> {
                barrier.await();
                for (int i = 0; i < n; i++) {
                    lock.lock();
                    try {
                        counts[0]++;
                    } finally {
                        lock.unlock();
                    }
                    synchronized (monitor) {
                        counts[1]++;
                    }
                    atomic.incrementAndGet();
                    map.merge(i % 100, 1L, Long::sum);
                }
                barrier.await();
                return null;
            }));
        }
        for (Future<?> f : all) {
            f.get();
        }
        long total = 0;
        for (long v : map.values()) {
            total += v;
        }
        long wanted = (long) n * THREADS;
        check(counts[0] == wanted && counts[1] == wanted && atomic.get() == wanted
                && total == wanted, "counts " + counts[0] + " " + counts[1] + " " + total);
        return total;
    }

    static long shortThreads(int n) throws Exception {
        ConcurrentLinkedQueue<Integer> queue = new ConcurrentLinkedQueue<>();
        CountDownLatch done = new CountDownLatch(n);
        for (int i = 0; i < n; i++) {
            int k = i;
            Thread t = new Thread(() -> {
                LockSupport.parkNanos(ThreadLocalRandom.current().nextInt(1000));
                queue.add(k);
                done.countDown();
            });
            t.start();
        }
        done.await();
        long sum = 0;
        for (int k : queue) {
            sum += k;
        }
        check(queue.size() == n, "a thread is missing");
        return sum;
    }

    static int depthOf(int depth) {
        try {
            exceptions(depth);
            return -1;
        } catch (ArithmeticException e) {
            return e.getStackTrace().length > 0 ? depth : -2;
        }
    }

    static long round(int r, ExecutorService pool) throws Exception {
        long h = 17;
        Map<String, Integer> words = new HashMap<>();
        for (int i = 0; i < 5_000; i++) {
            words.merge("word" + (i * r % 997), 1, Integer::sum);
        }
        List<Future<Long>> all = new ArrayList<>();
        for (int t = 0; t < THREADS; t++) {
            int seed = r * THREADS + t;
            all.add(pool.submit(() -> garbage(seed)));
        }
        for (Future<Long> f : all) {
            h = h * 31 + f.get();
        }
        check(nulls(7_000) == 1_000, "null pointers");
        check(depthOf(200) == 200, "exceptions");
        h = h * 31 + words.hashCode();
        h = h * 31 + shapes(r % 2 == 0 ? new Square() : new Line(), 50_000);
        h = h * 31 + Double.doubleToLongBits(numbers(20_000));
        h = h * 31 + contended(pool, 3_000);
        h = h * 31 + shortThreads(20);
        if (r % 10 == 0) {
            System.gc();
        }
        return h;
    }

    public static void main(String[] args) throws Exception {
        int rounds = Integer.parseInt(args[1]);
        ExecutorService pool = Executors.newFixedThreadPool(THREADS);
        try (RandomAccessFile out = new RandomAccessFile(args[0], "rw")) {
            for (int r = 1; r <= rounds; r++) {
                out.writeBytes("round " + r + " " + Long.toHexString(round(r, pool)) + "\n");
            }
            out.writeBytes("end\n");
        }
        pool.shutdown();
    }
}
