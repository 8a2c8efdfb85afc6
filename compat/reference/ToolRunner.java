import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import org.apache.kafka.common.utils.internals.Exit;
import org.slf4j.LoggerFactory;

/**
 * Runs the main methods of Apache Kafka's tools, one after another, in one virtual machine: {@code java ToolRunner
 * TOOLS_JAR}.
 *
 * <p>A request is a line {@code {"class", "arguments", "stdin", "deadline_ms"}} on standard input, its answer a line
 * {@code {"exit", "stdout", "stderr"}}; {@code exit} is null where the deadline came first, and {@code stderr} then ends
 * with where the tool's main thread was. A tool that goes around {@code Exit} to {@code System.exit} takes this virtual
 * machine with it: the answer then has {@code "ended": true}, and the exit code is the process's.
 *
 * <p>Each run has the classes of TOOLS_JAR anew, since they count in static fields;
 * what else is in the class path is loaded once. A tool that exits is stopped on the spot, as a process would be; its
 * shutdown hooks run, and only then is its main thread unwound, unheard, so that it closes what it has open.
 */
public final class ToolRunner {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final long UNWOUND_MS_MAX = 5_000;
    private static volatile Run current;

    private ToolRunner() {}

    public static void main(String[] arguments) throws Exception {
        URL tools = new File(arguments[0]).toURI().toURL();
        PrintStream answers = System.out;
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        // Says once that there is nothing to log with; better here than in the first run's output.
        LoggerFactory.getILoggerFactory();
        hearWhoSpeaks();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> ended(answers)));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            answers.println(JSON.writeValueAsString(answer(JSON.readTree(line), tools)));
            answers.flush();
        }
        // Threads that a tool has left behind are none of anybody's business any more.
        Runtime.getRuntime().halt(0);
    }

    private static ObjectNode answer(JsonNode request, URL tools) throws Exception {
        List<String> arguments = new ArrayList<>();
        request.get("arguments").forEach(one -> arguments.add(one.asText()));
        byte[] stdin = request.get("stdin").asText().getBytes(StandardCharsets.UTF_8);
        try (URLClassLoader classes = new URLClassLoader(new URL[] {tools}, ToolRunner.class.getClassLoader())) {
            Run run = new Run(request.get("class").asText(), arguments, stdin, classes);
            current = run;
            run.start();
            Integer code = run.await(request.get("deadline_ms").asLong());
            ObjectNode answer = run.answer().put("exit", code);
            run.unwind();
            return answer;
        }
    }

    private static void ended(PrintStream answers) {
        try {
            answers.println(JSON.writeValueAsString(current.answer().put("ended", true)));
        } catch (IOException impossible) {
            impossible.printStackTrace();
        }
        answers.flush();
    }

    /** Standard streams and exits of a thread are those of the run that it belongs to. */
    private static void hearWhoSpeaks() {
        PrintStream toPeople = System.err;
        System.setOut(new PrintStream(new RunsOutput(run -> run.stdout, toPeople), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new RunsOutput(run -> run.stderr, toPeople), true, StandardCharsets.UTF_8));
        System.setIn(new RunsInput());
        Exit.setExitProcedure((code, message) -> Run.exit(code));
        Exit.setHaltProcedure((code, message) -> Run.exit(code));
        Exit.setShutdownHookAdder((name, hook) -> Run.ofThisThread().hooks.add(hook));
    }

    /** One tool at work: the group of the threads that it has started, which tells them from those of others. */
    private static final class Run extends ThreadGroup {
        final InputStream stdin;
        final ByteArrayOutputStream stdout = new ByteArrayOutputStream();
        final ByteArrayOutputStream stderr = new ByteArrayOutputStream();
        final List<Runnable> hooks = new ArrayList<>();
        private final CompletableFuture<Integer> exitCode = new CompletableFuture<>();
        private final Thread mainThread;
        private final CountDownLatch nobodyListens = new CountDownLatch(1);

        Run(String name, List<String> arguments, byte[] stdin, ClassLoader classes) {
            super(name);
            this.stdin = new ByteArrayInputStream(stdin);
            mainThread = new Thread(this, () -> call(name, arguments, classes), "main");
            mainThread.setDaemon(true);
            mainThread.setContextClassLoader(classes);
        }

        void start() {
            mainThread.start();
        }

        ObjectNode answer() {
            ObjectNode answer = JSON.createObjectNode();
            answer.put("stdout", stdout.toString(StandardCharsets.UTF_8));
            answer.put("stderr", stderr.toString(StandardCharsets.UTF_8));
            return answer;
        }

        static Run ofThisThread() {
            for (ThreadGroup group = Thread.currentThread().getThreadGroup(); group != null; group = group.getParent()) {
                if (group instanceof Run) {
                    return (Run) group;
                }
            }
            return null;
        }

        /** Never returns, like the real one; ends in Unwound once nobody listens. */
        static void exit(int code) {
            Run run = ofThisThread();
            if (run == null) {
                return;
            }
            run.exitCode.complete(code);
            try {
                run.nobodyListens.await();
            } catch (InterruptedException interrupted) {
                // Unwound a little early, then.
            }
            throw new Unwound();
        }

        private void call(String name, List<String> arguments, ClassLoader classes) {
            try {
                Method main = Class.forName(name, true, classes).getMethod("main", String[].class);
                main.invoke(null, (Object) arguments.toArray(new String[0]));
                exitCode.complete(0);
            } catch (InvocationTargetException failed) {
                System.err.print("Exception in thread \"main\" ");
                failed.getCause().printStackTrace();
                exitCode.complete(1);
            } catch (ReflectiveOperationException impossible) {
                impossible.printStackTrace();
                exitCode.complete(1);
            }
        }

        /** The exit code once its hooks have run; null at the deadline. */
        Integer await(long deadlineMs) throws InterruptedException, ExecutionException {
            Integer code;
            try {
                code = exitCode.get(deadlineMs, TimeUnit.MILLISECONDS);
            } catch (TimeoutException late) {
                PrintStream end = new PrintStream(stderr, true, StandardCharsets.UTF_8);
                end.println("still running, its main thread is in");
                for (StackTraceElement frame : mainThread.getStackTrace()) {
                    end.println("\tat " + frame);
                }
                return null;
            }
            for (Runnable hook : hooks) {
                Thread thread = new Thread(this, hook, "shutdown-hook");
                thread.setDaemon(true);
                thread.start();
                thread.join(deadlineMs);
            }
            return code;
        }

        void unwind() throws InterruptedException {
            nobodyListens.countDown();
            mainThread.join(UNWOUND_MS_MAX);
        }
    }

    /** What unwinds a main thread that has exited; nobody catches it but who catches everything. */
    private static final class Unwound extends Error {
        private static final long serialVersionUID = 1L;

        Unwound() {
            super("exited", null, false, false);
        }
    }

    private static final class RunsOutput extends OutputStream {
        private final Function<Run, OutputStream> stream;
        private final OutputStream others;

        RunsOutput(Function<Run, OutputStream> stream, OutputStream others) {
            this.stream = stream;
            this.others = others;
        }

        @Override
        public void write(int one) throws IOException {
            write(new byte[] {(byte) one}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int offset, int length) throws IOException {
            Run run = Run.ofThisThread();
            if (run == null) {
                others.write(bytes, offset, length);
            } else if (run.nobodyListens.getCount() > 0) {
                stream.apply(run).write(bytes, offset, length);
            }
        }
    }

    private static final class RunsInput extends InputStream {
        @Override
        public int read() throws IOException {
            Run run = Run.ofThisThread();
            return run == null ? -1 : run.stdin.read();
        }

        @Override
        public int read(byte[] bytes, int offset, int length) throws IOException {
            Run run = Run.ofThisThread();
            return run == null ? -1 : run.stdin.read(bytes, offset, length);
        }

        @Override
        public int available() throws IOException {
            Run run = Run.ofThisThread();
            return run == null ? 0 : run.stdin.available();
        }
    }
}
