"""Broker keys: TLS, principals and authorization."""

from __future__ import annotations

from kbroker.config.declare import LOW, PER_BROKER, boolean, java_class, password, string, string_list
from kbroker.config.validators import OneOf

KEYS = (
    string(
        "authorizer.class.name",
        "",
        "Java class that authorizes requests.",
        importance=LOW,
    ),
    java_class(
        "principal.builder.class",
        "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder",
        "Java class that makes the principal of a connection.",
        dynamic=PER_BROKER,
    ),
    string(
        "security.providers",
        None,
        "Java classes that add security algorithms.",
        importance=LOW,
    ),
    string(
        "ssl.protocol",
        "TLSv1.3",
        "TLS version offered first.",
        dynamic=PER_BROKER,
    ),
    string_list(
        "ssl.enabled.protocols",
        ("TLSv1.2", "TLSv1.3"),
        "TLS versions accepted.",
        dynamic=PER_BROKER,
    ),
    string_list(
        "ssl.cipher.suites",
        (),
        "Cipher suites accepted; empty for all that the platform offers.",
        dynamic=PER_BROKER,
    ),
    string(
        "ssl.client.auth",
        "none",
        "Whether clients must (required), may (requested) or need not (none) show a certificate.",
        OneOf("required", "requested", "none"),
        dynamic=PER_BROKER,
    ),
    string(
        "ssl.endpoint.identification.algorithm",
        "https",
        "How the host name is checked against the certificate; empty for not at all.",
        importance=LOW,
        dynamic=PER_BROKER,
    ),
    string(
        "ssl.principal.mapping.rules",
        "DEFAULT",
        "Rules that turn a certificate's name into a principal.",
        importance=LOW,
    ),
    string(
        "ssl.keystore.type",
        "JKS",
        "Format of the key store.",
        dynamic=PER_BROKER,
    ),
    string(
        "ssl.keystore.location",
        None,
        "Path of the key store.",
        dynamic=PER_BROKER,
    ),
    password(
        "ssl.keystore.password",
        None,
        "Password of the key store.",
        dynamic=PER_BROKER,
    ),
    password(
        "ssl.keystore.key",
        None,
        "Private key, in PEM.",
        dynamic=PER_BROKER,
    ),
    password(
        "ssl.keystore.certificate.chain",
        None,
        "Certificate chain, in PEM.",
        dynamic=PER_BROKER,
    ),
    password(
        "ssl.key.password",
        None,
        "Password of the private key.",
        dynamic=PER_BROKER,
    ),
    string(
        "ssl.keymanager.algorithm",
        "SunX509",
        "Java's key manager algorithm.",
        dynamic=PER_BROKER,
    ),
    string(
        "ssl.truststore.type",
        "JKS",
        "Format of the trust store.",
        dynamic=PER_BROKER,
    ),
    string(
        "ssl.truststore.location",
        None,
        "Path of the trust store.",
        dynamic=PER_BROKER,
    ),
    password(
        "ssl.truststore.password",
        None,
        "Password of the trust store.",
        dynamic=PER_BROKER,
    ),
    password(
        "ssl.truststore.certificates",
        None,
        "Trusted certificates, in PEM.",
        dynamic=PER_BROKER,
    ),
    string(
        "ssl.trustmanager.algorithm",
        "PKIX",
        "Java's trust manager algorithm.",
        dynamic=PER_BROKER,
    ),
    string(
        "ssl.provider",
        None,
        "Java's TLS provider.",
        dynamic=PER_BROKER,
    ),
    string(
        "ssl.secure.random.implementation",
        None,
        "Java's random generator for TLS.",
        importance=LOW,
        dynamic=PER_BROKER,
    ),
    java_class(
        "ssl.engine.factory.class",
        None,
        "Java class that makes TLS engines.",
        importance=LOW,
        dynamic=PER_BROKER,
    ),
    boolean(
        "ssl.allow.dn.changes",
        False,
        "Accept a reloaded certificate with another distinguished name.",
        importance=LOW,
    ),
    boolean(
        "ssl.allow.san.changes",
        False,
        "Accept a reloaded certificate with other alternative names.",
        importance=LOW,
    ),
)
