package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	tables "jarvis-gateway/configs/clickhouse"
)

// ClickHouse's codes of errors that are looked for.
const (
	tooLargeString  = 131
	unknownTable    = 60
	unknownDatabase = 81
	outOfRange      = 321
	constraint      = 469
)

// houseEngine is ClickHouse.
type houseEngine struct {
	driver.Conn
	questions *sql.DB // the same server, as database/sql has it
	options   *clickhouse.Options
	scheme    string // of its URL
	pem       pemFiles
	cluster   string // "": a server of its own
	keep      Keep

	retaining sync.Mutex
}

var errHouseURL = errors.New("it must be sqlite:FILE, clickhouse://USER:PASSWORD@HOST:9000/DATABASE, clickhouse+http:// or clickhouse+https://")

func (s *Store) openClickHouse(raw string, o Options) error {
	e, err := parseHouse(raw)
	if err != nil {
		return err
	}
	e.keep = o.Keep
	s.name = e.scheme + "://" + strings.Join(e.options.Addr, ",") + "/" + e.options.Auth.Database
	if err := e.pem.trust(e.options.TLS); err != nil {
		return s.named(err)
	}
	if e.Conn, err = clickhouse.Open(e.options); err != nil {
		return s.named(err)
	}
	s.clickhouse, s.cluster, s.files = true, e.cluster, tables.Files
	e.questions = clickhouse.OpenDB(e.options)
	s.engine, s.db = e, e.questions
	return nil
}

// parseHouse reads a URL. Its errors say nothing of it but the scheme: the rest may hold a password, even in the wrong place.
func parseHouse(raw string) (*houseEngine, error) {
	scheme, _, _ := strings.Cut(raw, "://")
	schemes := map[string]string{"clickhouse": "clickhouse", "clickhouse+http": "http", "clickhouse+https": "https"}
	if schemes[scheme] == "" {
		return nil, fmt.Errorf("usage database: %w", errHouseURL)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Fragment != "" {
		return nil, fmt.Errorf("usage database %s: it is not a URL (write @ : / ? # in a password as %%XX): %w", scheme, errHouseURL)
	}
	query := u.Query()
	e := &houseEngine{scheme: scheme, cluster: query.Get("cluster")}
	query.Del("cluster")
	if e.pem, err = takePEM(query); err != nil {
		return nil, fmt.Errorf("usage database %s: %w", scheme, err)
	}
	compress := cmp.Or(query.Get("compress"), "lz4")
	if !slices.Contains([]string{"lz4", "zstd", "none"}, compress) {
		return nil, fmt.Errorf("usage database %s: compress: it must be lz4, zstd or none", scheme)
	}
	query.Set("compress", compress)
	if scheme == "clickhouse+https" {
		query.Set("secure", "true")
	}
	u.Scheme, u.RawQuery = schemes[scheme], query.Encode()
	if e.options, err = clickhouse.ParseDSN(u.String()); err != nil {
		return nil, fmt.Errorf("usage database %s: %w: %w", scheme, err, errHouseURL)
	}
	if e.pem != (pemFiles{}) && e.options.TLS == nil {
		return nil, fmt.Errorf("usage database %s: %w", scheme, errPlain)
	}
	e.options.Auth.Database = cmp.Or(e.options.Auth.Database, "default")
	e.options.DialStrategy = eachInTurn
	e.options.DialTimeout = cmp.Or(e.options.DialTimeout, 5*time.Second)
	e.options.ReadTimeout = cmp.Or(e.options.ReadTimeout, time.Minute)
	return e, nil
}

// version asks all shards, as only that which was asked to migrate knows of it; or this one, where another is away, or is new
// and has no tables.
func (e *houseEngine) version(ctx context.Context) (int, error) {
	var version uint32
	err := e.QueryRow(ctx, `SELECT max(version) FROM `+across(e.cluster, "migrations")).Scan(&version)
	if e.cluster != "" && err != nil {
		err = e.QueryRow(ctx, `SELECT max(version) FROM migrations`).Scan(&version)
	}
	if code(err) == unknownTable || code(err) == unknownDatabase {
		return 0, nil
	}
	return int(version), err
}

// apply does not mind when another gateway is at the same: each statement does nothing the second time.
func (e *houseEngine) apply(ctx context.Context, m migration) error {
	if err := e.createDatabase(ctx); err != nil {
		return err
	}
	for _, statement := range m.statements {
		if err := e.Exec(ctx, e.onCluster(statement)); err != nil {
			return err
		}
	}
	return e.Exec(ctx, `INSERT INTO migrations (version, name) SELECT toUInt32(?), ?`, m.version, m.name)
}

// createDatabase makes the database if it is not there. Who may not make any must have been given one.
func (e *houseEngine) createDatabase(ctx context.Context) error {
	if err := e.Exec(ctx, `SELECT 1`); code(err) != unknownDatabase {
		return err
	}
	first := *e.options
	first.Auth.Database = "default"
	conn, err := clickhouse.Open(&first)
	if err != nil {
		return err
	}
	err = conn.Exec(ctx, e.onCluster("CREATE DATABASE IF NOT EXISTS "+quoted(e.options.Auth.Database)))
	return errors.Join(err, conn.Close())
}

// insert writes the requests last: one that can be seen has its attempts. A token names what is inserted into a table, so that
// the table leaves out what it has seen, and the rollups fed from it do too.
func (e *houseEngine) insert(ctx context.Context, token string, b *batch) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplicate":                                 1,
		"insert_deduplication_token":                         token,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
		"async_insert":                                       0,
	}))
	var attempts []attempt
	for _, r := range b.requests {
		for i := range r.Attempts {
			attempts = append(attempts, attempt{r, &r.Attempts[i], i + 1})
		}
	}
	err := sendRows(ctx, e, attemptsTable(), attempts)
	if err == nil {
		err = sendRows(ctx, e, contentsTable(), b.contents)
	}
	if err == nil {
		err = sendRows(ctx, e, feedbackTable(), b.feedback)
	}
	if err == nil {
		err = sendRows(ctx, e, requestsTable(), b.requests)
	}
	return explained(err)
}

func sendRows[R any](ctx context.Context, e *houseEngine, t table[R], rows []R) error {
	if len(rows) == 0 {
		return nil
	}
	types := make([]clickhouse.ColumnNameAndType, len(t.columns))
	for i, c := range t.columns {
		plain, _, _ := strings.Cut(c.house, " CODEC(")
		types[i] = clickhouse.ColumnNameAndType{Name: c.name, Type: plain}
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithColumnNamesAndTypes(types))
	send, err := e.PrepareBatch(ctx, `INSERT INTO `+t.name+` (`+columnList(t.columns)+`)`)
	if err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	defer send.Close()
	for i, c := range t.columns {
		if err := send.Column(i).Append(c.all(rows)); err != nil {
			return fmt.Errorf("%s.%s: %w", t.name, c.name, err)
		}
	}
	if err := send.Send(); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	return nil
}

func code(err error) int32 {
	var e *clickhouse.Exception
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// explained marks errors that speak of values, and says what mends a missing table: those are not the records' fault.
func explained(err error) error {
	switch code(err) {
	case tooLargeString, outOfRange, constraint:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case unknownTable, unknownDatabase:
		return fmt.Errorf("its tables are made by `jarvis-gateway usage migrate`: %w", err)
	}
	return err
}

func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func (e *houseEngine) close() error { return errors.Join(e.Close(), e.questions.Close()) }
