package org.slf4j.impl;

import java.io.PrintStream;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Arrays;
import org.slf4j.ILoggerFactory;
import org.slf4j.Logger;
import org.slf4j.helpers.FormattingTuple;
import org.slf4j.helpers.MessageFormatter;
import org.slf4j.spi.LoggerFactoryBinder;

/**
 * Lets the tools log what they log when Apache Kafka's scripts start them: warnings and errors, to standard error, as
 * {@code [time] LEVEL message (logger)} and the stack trace. slf4j finds this class by its name.
 */
public final class StaticLoggerBinder implements LoggerFactoryBinder {
    private static final StaticLoggerBinder ONLY = new StaticLoggerBinder();
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss,SSS");

    private StaticLoggerBinder() {}

    public static StaticLoggerBinder getSingleton() {
        return ONLY;
    }

    @Override
    public ILoggerFactory getLoggerFactory() {
        return StaticLoggerBinder::logger;
    }

    @Override
    public String getLoggerFactoryClassStr() {
        return StaticLoggerBinder.class.getName();
    }

    /** Of all that a logger can be asked, what warns and what tells of errors is heard. */
    private static Logger logger(String name) {
        ClassLoader classes = StaticLoggerBinder.class.getClassLoader();
        return (Logger) Proxy.newProxyInstance(classes, new Class<?>[] {Logger.class}, (proxy, method, arguments) -> {
            switch (method.getName()) {
                case "warn":
                case "error":
                    log(name, method, arguments);
                    return null;
                case "isWarnEnabled":
                case "isErrorEnabled":
                    return true;
                case "getName":
                    return name;
                default:
                    return method.getReturnType() == boolean.class ? false : null;
            }
        });
    }

    private static void log(String name, Method method, Object[] arguments) {
        Object[] rest = Arrays.copyOfRange(arguments, 1, arguments.length);
        if (rest.length == 1 && rest[0] instanceof Object[]) {
            rest = (Object[]) rest[0];
        }
        FormattingTuple said = MessageFormatter.arrayFormat((String) arguments[0], rest);
        PrintStream stream = System.err;
        String level = method.getName().toUpperCase();
        String time = LocalDateTime.now().format(TIME);
        stream.println("[" + time + "] " + level + " " + said.getMessage() + " (" + name + ")");
        if (said.getThrowable() != null) {
            said.getThrowable().printStackTrace(stream);
        }
    }
}
