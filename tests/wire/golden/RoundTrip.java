import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.Readable;

/** Reads lines of class, version and hexadecimal bytes; prints what Apache Kafka's class reads and writes again. */
public class RoundTrip {
    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] parts = line.split(" ", -1);
            System.out.println(again(parts[0], Short.parseShort(parts[1]), parts[2]).replace('\n', ' '));
        }
    }

    private static String again(String className, short version, String hex) throws Exception {
        ByteBuffer bytes = ByteBuffer.wrap(HexFormat.of().parseHex(hex));
        try {
            Constructor<?> constructor = Class.forName(className).getConstructor(Readable.class, short.class);
            Message message = (Message) constructor.newInstance(new ByteBufferAccessor(bytes), version);
            if (bytes.hasRemaining()) {
                return "error: " + bytes.remaining() + " bytes left";
            }
            ByteBuffer written = MessageUtil.toByteBufferAccessor(message, version).buffer();
            byte[] array = new byte[written.remaining()];
            written.get(array);
            return HexFormat.of().formatHex(array);
        } catch (InvocationTargetException error) {
            return "error: " + error.getCause();
        }
    }
}
