package state

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// What keeps a slow server from holding anything up for long: the gateway waits no longer than patience, and the server gives
// up by itself what the gateway no longer waits for. A URL may set each of them otherwise.
const (
	patience = 5 * time.Second
	pooled   = "8" // connections at most: pool_max_conns
)

// session is what each connection asks of the server.
func session() map[string]string {
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	return map[string]string{
		"application_name":  "jarvis-gateway",
		"statement_timeout": ms(patience),
		"lock_timeout":      ms(patience * 3 / 5),
		// A gateway whose machine froze in the middle of a transaction must not keep the others from theirs.
		"idle_in_transaction_session_timeout": ms(2 * patience),
	}
}

// migrateAlone waits until no other gateway migrates, however long a large table takes.
const migrateAlone = `SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(7236837501992310)`

// openPostgres says nothing of the URL in its errors but the host: the rest may hold the password, even where it is written
// in the wrong place.
func openPostgres(raw string) (*engine, error) {
	if err := plain(raw); err != nil {
		return nil, fmt.Errorf("state database: postgres URL: %w", err)
	}
	cfg, err := pgx.ParseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("state database: postgres URL: %w", reason(err))
	}
	name := "postgres://" + net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))) + "/" + cfg.Database
	most := cfg.RuntimeParams["pool_max_conns"]
	if most == "" {
		most = pooled
	}
	n, err := strconv.Atoi(most)
	if err != nil || n < 1 || n > 1000 {
		return nil, fmt.Errorf("state database %s: pool_max_conns: it must be 1 to 1000", name)
	}
	delete(cfg.RuntimeParams, "pool_max_conns")
	for k, v := range session() {
		if cfg.RuntimeParams[k] == "" {
			cfg.RuntimeParams[k] = v
		}
	}
	if cfg.ConnectTimeout == 0 || cfg.ConnectTimeout > patience {
		cfg.ConnectTimeout = patience
	}
	if cfg.ValidateConnect == nil { // a standby takes no writes: another host of the URL may
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(30 * time.Minute) // after a failover none stays at a server that writes no more
	return &engine{
		db: db, name: name, patience: patience, alone: migrateAlone, inTurn: `SELECT 1 FROM tally FOR UPDATE`,
		words:   func(m migration) string { return strings.ReplaceAll(m.both, "BLOB", "BYTEA") + m.postgres },
		passing: passingPostgres,
	}, nil
}

// plain is an error unless there is one way to read a URL. A password with a raw @, / or # makes others, and a part of it a
// host or a database, which errors name.
func plain(raw string) error {
	_, rest, _ := strings.Cut(raw, "://")
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	user, _, _ := strings.Cut(authority, "@")
	_, err := url.PathUnescape(user)
	switch {
	case err != nil, strings.Count(authority, "@") > 1, strings.ContainsAny(tail, "@#"):
		return errors.New("it must be postgres://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for each of the characters @ : / ? # % in the user and the password")
	case strings.Contains(strings.ToLower(tail), "password"):
		return errors.New("the password stands before the @ of postgres://USER:PASSWORD@HOST:PORT/DATABASE, or in PGPASSWORD")
	}
	return nil
}

// reason is why a URL cannot be used, without the URL, which the driver's own error quotes.
func reason(err error) error {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+len("`: "):]
	}
	return errors.New(text)
}

// passingPostgres goes by classes of codes: connection, read-only or idle for too long, conflict with another transaction,
// resources, locks and timeouts, shutdown, disk.
func passingPostgres(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && len(e.Code) == 5 && slices.Contains([]string{"08", "25", "40", "53", "55", "57", "58"}, e.Code[:2])
}
