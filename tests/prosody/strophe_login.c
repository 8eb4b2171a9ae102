/* Logs in with a client certificate through libstrophe, the way its users do, and says who it is.
 *
 *   strophe_login ADDRESS PORT CA CERT KEY [JID]
 *
 * CERT and KEY are PEM files; or CERT is a PKCS#12 file, KEY is "-", and its password is in $PKCS12_PASSWORD.
 * Prints the JID that was bound; what goes over the wire is on stderr. Without JID libstrophe takes it from the
 * certificate. Exit status 0 after a login, 1 otherwise.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strophe.h>

static int logged_in = 0;

static void on_change(xmpp_conn_t *conn, xmpp_conn_event_t event, int error, xmpp_stream_error_t *stream_error, void *ctx)
{
    (void)error;
    (void)stream_error;
    if (event == XMPP_CONN_CONNECT) {
        const char *jid = xmpp_conn_get_bound_jid(conn);
        printf("%s\n", jid ? jid : "nobody");
        logged_in = 1;
        xmpp_disconnect(conn);
    } else {
        xmpp_stop(ctx);
    }
}

static int tell_password(char *password, size_t size, xmpp_conn_t *conn, void *told)
{
    (void)conn;
    int length = snprintf(password, size, "%s", (const char *)told);
    return length >= 0 && (size_t)length < size ? length : -1;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: strophe_login ADDRESS PORT CA CERT KEY [JID]\n");
        return 2;
    }
    xmpp_initialize();
    xmpp_ctx_t *ctx = xmpp_ctx_new(NULL, xmpp_get_default_logger(XMPP_LEVEL_DEBUG));
    xmpp_conn_t *conn = xmpp_conn_new(ctx);
    xmpp_conn_set_flags(conn, XMPP_CONN_FLAG_MANDATORY_TLS);
    xmpp_conn_set_cafile(conn, argv[3]);
    if (argc > 6)
        xmpp_conn_set_jid(conn, argv[6]);
    char *password = getenv("PKCS12_PASSWORD");
    if (password)
        xmpp_conn_set_password_callback(conn, tell_password, password);
    xmpp_conn_set_client_cert(conn, argv[4], strcmp(argv[5], "-") ? argv[5] : NULL);
    if (xmpp_connect_client(conn, argv[1], (unsigned short)atoi(argv[2]), on_change, ctx) == XMPP_EOK)
        xmpp_run(ctx);
    xmpp_conn_release(conn);
    xmpp_ctx_free(ctx);
    xmpp_shutdown();
    return logged_in ? 0 : 1;
}
