package store

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"jarvis-gateway/bench/chdb"
	tables "jarvis-gateway/configs/clickhouse"
	"jarvis-gateway/proxy/usage"
)

// zooKeeper is where Debian's package of that name puts it.
const zooKeeper = "/usr/share/java/zookeeper.jar"

// clustered makes a server one of three: a and b are the replicas of a shard, c is another shard. The cluster pair has the
// former alone, wide all.
const clustered = `<interserver_http_port>%[1]d</interserver_http_port><interserver_http_host>127.0.0.1</interserver_http_host>
<zookeeper><node><host>127.0.0.1</host><port>%[2]d</port></node><session_timeout_ms>1500</session_timeout_ms></zookeeper>
<macros><shard>%[3]s</shard><replica>%[4]s</replica></macros><distributed_ddl><path>/ddl</path></distributed_ddl>
<remote_servers><pair>%[5]s</pair><wide>%[5]s%[6]s</wide></remote_servers>`

const shardOf = `<shard><internal_replication>true</internal_replication>%s</shard>`

const replicaAt = `<replica><host>127.0.0.1</host><port>%d</port></replica>`

// startKeeper starts ZooKeeper.
func startKeeper(t *testing.T) (port int) {
	t.Helper()
	if _, err := os.Stat(zooKeeper); err != nil {
		t.Skip("there is no ZooKeeper on this machine")
	}
	dir, port := t.TempDir(), freePort(t)
	config := fmt.Sprintf("tickTime=200\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n", dir, port)
	if err := os.WriteFile(dir+"/zoo.cfg", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	zoo := exec.Command("java", "-Xmx128m", "-Dzookeeper.forceSync=no", "-cp", zooKeeper, "org.apache.zookeeper.server.quorum.QuorumPeerMain", dir+"/zoo.cfg")
	if err := zoo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = zoo.Process.Kill()
		_ = zoo.Wait()
	})
	serves(t, fmt.Sprint("127.0.0.1:", port))
	return port
}

// startCluster starts ZooKeeper and the servers a, b and c.
func startCluster(t *testing.T) (servers []*native) {
	t.Helper()
	keeper := startKeeper(t)
	ports := []int{freePort(t), freePort(t), freePort(t)}
	one := fmt.Sprintf(shardOf, fmt.Sprintf(replicaAt, ports[0])+fmt.Sprintf(replicaAt, ports[1]))
	two := fmt.Sprintf(shardOf, fmt.Sprintf(replicaAt, ports[2]))
	for i, shard := range []string{"one", "one", "two"} {
		servers = append(servers, startNative(t, ports[i], fmt.Sprintf(clustered, freePort(t), keeper, shard, string(rune('a'+i)), one, two)))
	}
	return servers
}

// serves waits until ZooKeeper does, which it does not when it begins to listen: a server that finds it so falls over later.
func serves(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, _ = c.Write([]byte("srvr"))
			text, _ := io.ReadAll(c)
			c.Close()
			if strings.Contains(string(text), "Mode: standalone") {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("ZooKeeper does not serve")
		}
	}
}

// older are the migrations as a server of 2018 can have them, for a database of a cluster: without codecs, indices, times to
// live, fractions of seconds and quantiles that can be added up.
func older(t *testing.T, database string, more fstest.MapFS) fstest.MapFS {
	t.Helper()
	list, err := fs.Glob(tables.Files, "[0-9]*.sql")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, name := range list {
		text, err := fs.ReadFile(tables.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		old := string(text)
		for _, change := range [][2]string{
			{` CODEC\((?:[^()]|\([^()]*\))*\)`, ""},
			{`LowCardinality\(String\)`, "String"},
			{`DateTime64\(6, 'UTC'\)`, "DateTime('UTC')"},
			{`\bBool\b`, "UInt8"},
			{`,\n\s*INDEX [^\n]*?(,?)\n`, "$1\n"},
			{`,\n\s*INDEX [^\n]*\n`, "\n"},
			{`, ttl_only_drop_parts = 1`, ""},
			{`\nTTL [^\n]*`, ""},
			{`SimpleAggregateFunction\(sum, Int64\)`, "Int64"},
			{`quantilesDD(State|StateIf)?\(0.01, `, "quantiles$1("},
			{`(FROM| TO) (requests\w*) AS`, "$1 " + database + ".$2 AS"},
			{`AggregatingMergeTree`, "SummingMergeTree"},
		} {
			old = regexp.MustCompile(change[0]).ReplaceAllString(old, change[1])
		}
		files[path.Base(name)] = &fstest.MapFile{Data: []byte(old)}
	}
	for name, file := range more {
		files[name] = file
	}
	return files
}

// olderTable has flags as numbers.
func olderTable[R any](t table[R]) table[R] {
	for i, c := range t.columns {
		if c.house != "Bool" {
			continue
		}
		t.columns[i].all = func(rows []R) any {
			numbers := make([]uint8, len(rows))
			for i, is := range c.all(rows).([]bool) {
				if is {
					numbers[i] = 1
				}
			}
			return numbers
		}
	}
	return t
}

// olderWrite is insert without the settings that such a server does not know. Of what is inserted again into replicated tables it
// knows the contents, not a token.
func olderWrite(ctx context.Context, s *Store, list []*usage.Record) error {
	e := s.engine.(*houseEngine)
	var attempts []attempt
	for _, r := range list {
		for i := range r.Attempts {
			attempts = append(attempts, attempt{r, &r.Attempts[i], i + 1})
		}
	}
	if err := sendRows(ctx, e, olderTable(attemptsTable()), attempts); err != nil {
		return err
	}
	return sendRows(ctx, e, olderTable(requestsTable()), list)
}

// inDatabase is a store in a database of a cluster, which comes to the servers in their order.
func inDatabase(t *testing.T, database, cluster string, more fstest.MapFS, servers ...*native) *Store {
	t.Helper()
	var addresses []string
	for _, n := range servers {
		addresses = append(addresses, n.address)
	}
	at := strings.NewReplacer(servers[0].address, strings.Join(addresses, ","), "/default", "/"+database).Replace(servers[0].url("cluster=" + cluster))
	s, err := Open(t.Context(), at, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.files = older(t, database, more)
	return s
}

// The statements for a cluster, on the engine of today: with ZooKeeper it makes the tables of two replicas, of which the second
// comes later. It cannot fill them, as the library does not serve other servers.
func TestReplicatedTables(t *testing.T) {
	keeper := startKeeper(t)
	e, err := parseHouse(`clickhouse://u:p@h:9000/usage?cluster=main`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := migrations(tables.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, replica := range []string{"a", "b"} {
		dir := t.TempDir()
		config := fmt.Sprintf(`<clickhouse><zookeeper><node><host>127.0.0.1</host><port>%d</port></node></zookeeper>
			<macros><shard>one</shard><replica>%s</replica></macros></clickhouse>`, keeper, replica)
		if err := os.WriteFile(dir+"/config.xml", []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), chdb.StartAt(t, dir+"/data", "--config-file="+dir+"/config.xml").URL, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, m := range list {
			for _, statement := range m.statements {
				if _, err := s.db.ExecContext(t.Context(), strings.Replace(e.onCluster(statement), ` ON CLUSTER "main"`, "", 1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for query, want := range map[string]int64{
			`SELECT toInt64(count()) FROM system.replicas WHERE zookeeper_path = '/clickhouse/tables/one/usage/' || table AND replica_name = '` + replica + `'`: 8,
			`SELECT toInt64(min(total_replicas)) FROM system.replicas`:                                                                  map[string]int64{"a": 1, "b": 2}[replica],
			`SELECT toInt64(count()) FROM system.tables WHERE engine_full LIKE '%, replicated_deduplication_window_seconds = 604800%'`:  7,
			`SELECT toInt64(count()) FROM system.tables WHERE engine_full LIKE 'ReplicatedReplacingMergeTree(%, \'{replica}\', time)%'`: 1,
		} {
			if got := s.number(t, query); got != want {
				t.Errorf("%s: %d, want %d", query, got, want)
			}
		}
	}
}

// Tables on the replicas of a shard, through the native protocol: what is written to one is on both, once, also when it comes
// again at the other, and when one is killed while it writes. A later migration changes the tables of both.
func TestReplicas(t *testing.T) {
	servers := startCluster(t)
	a, b := servers[0], servers[1]
	s := inDatabase(t, "usage", "pair", nil, a, b)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	one, other := inDatabase(t, "usage", "pair", nil, a), inDatabase(t, "usage", "pair", nil, b)
	caughtUp(t, other)
	for _, at := range []*Store{one, other} {
		if pending, err := at.Pending(t.Context()); err != nil || len(pending) > 0 {
			t.Fatalf("pending %v, %v", pending, err)
		}
	}
	var all []*usage.Record
	for n, at := range []*Store{s, one, other, one, other, other, one} { // 0 to 2, then 0 to 2 again elsewhere and at the same
		_, list := batchOf(n%3, noon)
		if err := olderWrite(t.Context(), at, list); err != nil {
			t.Fatal(err)
		}
		if n < 3 {
			all = append(all, list...)
		}
	}
	agree(t, all, one, other)
	if sums := rolledUp(t, one); sums != rolledUp(t, other) || !strings.HasPrefix(sums, fmt.Sprint(len(all), " ")) {
		t.Errorf("sums of %d requests: %s, %s", len(all), sums, rolledUp(t, other))
	}

	for n := 3; n < 13; n++ {
		_, list := batchOf(n, noon)
		if n == 6 {
			time.AfterFunc(3*time.Millisecond, a.kill)
		}
		for olderWrite(t.Context(), s, list) != nil { // as the spool does, till it has said yes
			if t.Context().Err() != nil {
				t.Fatal("it was not written")
			}
		}
		all = append(all, list...)
	}
	a.start(t)
	agree(t, all, inDatabase(t, "usage", "pair", nil, a), other)
	if sums := rolledUp(t, other); sums != rolledUp(t, inDatabase(t, "usage", "pair", nil, a)) { // the views of a server this old are not told again of what was cut
		t.Errorf("sums: %s, %s", sums, rolledUp(t, one))
	}

	later := fstest.MapFS{"0003_later.sql": {Data: []byte(`ALTER TABLE requests ADD COLUMN later UInt8 DEFAULT 7`)}}
	if err := inDatabase(t, "usage", "pair", later, b).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*native{a, b} {
		at := inDatabase(t, "usage", "pair", later, n)
		caughtUp(t, at)
		if pending, err := at.Pending(t.Context()); err != nil || len(pending) > 0 {
			t.Errorf("pending %v, %v", pending, err)
		}
		if got := at.number(t, `SELECT toInt64(count()) FROM requests WHERE later = 7`); got != int64(len(all)) {
			t.Errorf("%d rows have the new column", got)
		}
	}
}

// Two shards, of which one comes later: each has what was written to it, and whichever is asked tells of all.
func TestShards(t *testing.T) {
	servers := startCluster(t)
	a, b, c := servers[0], servers[1], servers[2]
	if err := inDatabase(t, "usage", "pair", nil, a).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := inDatabase(t, "usage", "wide", nil, c).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	stores := []*Store{inDatabase(t, "usage", "wide", nil, a), inDatabase(t, "usage", "wide", nil, b), inDatabase(t, "usage", "wide", nil, c)}
	for n, s := range stores {
		if pending, err := s.Pending(t.Context()); err != nil || len(pending) > 0 {
			t.Errorf("server %d: pending %v, %v", n, pending, err)
		}
		_, list := batchOf(n, noon)
		if err := olderWrite(t.Context(), s, list); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range stores[:2] {
		caughtUp(t, s)
	}
	want := stores[0].summed(t, stores[0].from("requests"))
	for n, s := range stores {
		here, of := s.summed(t, "requests"), []int{40, 40, 20}[n]
		if got := s.summed(t, s.from("requests")); got != want || !strings.HasPrefix(got, "60 ") || !strings.HasPrefix(here, fmt.Sprint(of, " ")) {
			t.Errorf("server %d: %s of all and %s of its own, want %s and %d", n, got, here, want, of)
		}
	}
}

// agree looks for the same records on each server, once each.
func agree(t *testing.T, written []*usage.Record, servers ...*Store) {
	t.Helper()
	var attempts, tokens int64
	for _, r := range written {
		attempts, tokens = attempts+int64(len(r.Attempts)), tokens+r.Usage.Prompt
	}
	for n, s := range servers {
		caughtUp(t, s)
		got := s.summed(t, "requests") + fmt.Sprint(" ", s.number(t, `SELECT toInt64(count()) FROM attempts`))
		if want := fmt.Sprint(len(written), len(written), tokens, attempts); got != want {
			t.Errorf("server %d: requests, their uids, tokens, attempts: %s, want %s", n, got, want)
		}
	}
}

// summed tells of a table of requests.
func (s *Store) summed(t *testing.T, table string) string {
	t.Helper()
	return fmt.Sprint(s.number(t, `SELECT toInt64(count()) FROM `+table), s.number(t, `SELECT toInt64(uniqExact(uid)) FROM `+table),
		s.number(t, `SELECT toInt64(sum(prompt_tokens)) FROM `+table))
}

// rolledUp tells of the tables that views fill.
func rolledUp(t *testing.T, s *Store) (sums string) {
	t.Helper()
	for _, table := range []string{"requests_minute", "requests_hour", "requests_day"} {
		sums += fmt.Sprint(s.number(t, `SELECT toInt64(sum(requests)) FROM `+table), s.number(t, `SELECT toInt64(sum(prompt_tokens)) FROM `+table), "; ")
	}
	return sums
}

// caughtUp waits until a server has what its shard's other one was told.
func caughtUp(t *testing.T, s *Store) {
	t.Helper()
	for _, table := range []string{"migrations", "requests", "attempts", "requests_minute", "requests_hour", "requests_day"} {
		var err error
		for range 100 { // a server that has just begun may still be read-only
			if err = s.engine.(*houseEngine).Exec(t.Context(), `SYSTEM SYNC REPLICA `+table); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
