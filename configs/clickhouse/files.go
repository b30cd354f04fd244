// Package clickhouse holds the tables of usage in ClickHouse, as files that can be read and applied by hand too.
package clickhouse

import "embed"

// Files are the migrations, NNNN_NAME.sql.
//
//go:embed [0-9]*.sql
var Files embed.FS
