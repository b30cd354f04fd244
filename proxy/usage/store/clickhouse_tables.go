package store

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// onCluster makes a statement for a server one for all servers of the cluster, with tables that are replicated among those of
// a shard. These remember as many inserts, and for a week rather than an hour: a sink may be away for long. Their paths are said,
// as those that a server makes up differ each time: a server that comes later would be a replica of nothing.
func (e *houseEngine) onCluster(statement string) string {
	if e.cluster == "" {
		return statement
	}
	created := regexp.MustCompile(`^((?:CREATE (?:DATABASE|TABLE|MATERIALIZED VIEW) IF NOT EXISTS|ALTER TABLE) ("[^"]+"|\w+))`)
	engine := regexp.MustCompile(`(?m)^ENGINE = (\w*MergeTree)(?:\((.+)\))?$`)
	if m := engine.FindStringSubmatch(statement); m != nil {
		table := created.FindStringSubmatch(statement)[2]
		of := []string{literal("/clickhouse/tables/{shard}/" + e.options.Auth.Database + "/" + table), literal("{replica}")}
		if m[2] != "" {
			of = append(of, m[2])
		}
		statement = strings.Replace(statement, m[0], "ENGINE = Replicated"+m[1]+"("+strings.Join(of, ", ")+")", 1)
	}
	statement = created.ReplaceAllString(statement, "$1 ON CLUSTER "+quoted(e.cluster))
	return strings.ReplaceAll(statement, "non_replicated_deduplication_window = 10000",
		"replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800")
}

// across is a table as a query reads it: from all shards of a cluster.
func across(cluster, table string) string {
	if cluster == "" {
		return table
	}
	return "cluster(" + literal(cluster) + ", currentDatabase(), " + table + ")"
}

// retain has the tables' TTL say what the options say. ClickHouse deletes what is old by itself. A second try finds what another
// gateway has changed during the first.
func (e *houseEngine) retain(ctx context.Context) (more bool, err error) {
	e.retaining.Lock()
	defer e.retaining.Unlock()
	if e.setTTL(ctx) == nil {
		return false, nil
	}
	return false, e.setTTL(ctx)
}

func (e *houseEngine) setTTL(ctx context.Context) error {
	engines, err := e.engines(ctx)
	if err != nil {
		return err
	}
	for _, t := range e.keep.tables() {
		statement := retention(t.name, engines[t.name], t.keep)
		if statement == "" {
			continue
		}
		if err := e.Exec(ctx, e.onCluster(statement)); err != nil {
			return err
		}
	}
	return nil
}

// engines are the engines of all tables, with what belongs to them.
func (e *houseEngine) engines(ctx context.Context) (map[string]string, error) {
	rows, err := e.Query(ctx, `SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	engines := map[string]string{}
	for rows.Next() {
		var name, engine string
		if err := rows.Scan(&name, &engine); err != nil {
			return nil, err
		}
		engines[name] = engine
	}
	return engines, rows.Err()
}

// keptTable is a table and how long its rows are kept.
type keptTable struct {
	name string
	keep time.Duration
}

// tables are those that retention is for. What was said goes with its request at the latest.
func (k Keep) tables() []keptTable {
	contents := k.Contents
	if contents <= 0 || k.Records > 0 && contents > k.Records {
		contents = k.Records
	}
	return []keptTable{{"contents", contents}, {"attempts", k.Records}, {"feedback", k.Records}, {"requests", k.Records}}
}

// retention is the statement that has a table keep its rows for a time; "" if it does. What somebody else has put into the TTL
// to move rows between volumes stays there, and with no time set, what somebody else has put there to delete them.
func retention(table, engine string, keep time.Duration) string {
	if engine == "" {
		return "" // it is not there yet
	}
	is := ttl(engine)
	ours := regexp.MustCompile(`^toDateTime\(time\) \+ toIntervalSecond\(\d+\)$`)
	want := slices.DeleteFunc(slices.Clone(is), func(part string) bool {
		moves := strings.Contains(part, " TO VOLUME ") || strings.Contains(part, " TO DISK ") || strings.Contains(part, " RECOMPRESS ")
		return ours.MatchString(part) || keep > 0 && !moves
	})
	if keep > 0 {
		want = append(want, fmt.Sprintf("toDateTime(time) + toIntervalSecond(%d)", int64(keep.Seconds())))
	}
	switch {
	case slices.Equal(slices.Sorted(slices.Values(is)), slices.Sorted(slices.Values(want))):
		return ""
	case len(want) == 0:
		return "ALTER TABLE " + table + " REMOVE TTL"
	}
	return "ALTER TABLE " + table + " MODIFY TTL " + strings.Join(want, ", ")
}

// ttl finds the parts of the TTL in what system.tables says of a table.
func ttl(engine string) (parts []string) {
	_, rest, ok := strings.Cut(engine, " TTL ")
	if !ok {
		return nil
	}
	rest, _, _ = strings.Cut(rest, " SETTINGS ")
	depth, begin := 0, 0
	for i, c := range rest {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				parts, begin = append(parts, strings.TrimSpace(rest[begin:i])), i+1
			}
		}
	}
	return append(parts, strings.TrimSpace(rest[begin:]))
}
