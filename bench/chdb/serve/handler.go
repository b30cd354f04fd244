package main

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"
)

// handler is ClickHouse's HTTP interface, as far as drivers and dashboards use it.
type handler struct {
	engine  *engine
	version string
}

// ServeHTTP runs the query of one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" {
		fmt.Fprint(w, "Ok.\n")
		return
	}
	out, err := h.answer(r)
	if err == nil && r.URL.Query().Get("compress") == "1" {
		out, err = compressed(out, r.URL.Query().Get("network_compression_method"))
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	_, _ = w.Write(out) // who asked may have left
}

func (h *handler) answer(r *http.Request) ([]byte, error) {
	parameters := r.URL.Query()
	data, err := body(r, parameters)
	if err != nil {
		return nil, err
	}
	query := parameters.Get("query")
	if query == "" {
		query, data = string(data), nil
	}
	if strings.TrimSpace(query) == "" {
		return []byte("Ok.\n"), nil
	}
	if strings.HasPrefix(query, "SELECT displayName(), version(), revision(), timezone()") {
		return h.hello(), nil
	}
	if len(data) > 0 {
		file, err := stored(data)
		if err != nil {
			return nil, err
		}
		defer os.Remove(file)
		if query, err = fromFile(query, file); err != nil {
			return nil, err
		}
	}
	return h.engine.run(query, first(parameters.Get("default_format"), r.Header.Get("X-ClickHouse-Format"), "TabSeparated"),
		first(parameters.Get("database"), r.Header.Get("X-ClickHouse-Database"), "default"), settings(parameters))
}

func body(r *http.Request, parameters url.Values) ([]byte, error) {
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = unzipped
	}
	if parameters.Get("decompress") != "1" {
		return io.ReadAll(in)
	}
	data, err := io.ReadAll(compress.NewReader(in))
	if errors.Is(err, io.EOF) { // its own words for the end
		err = nil
	}
	return data, err
}

// settings are the parameters that are not of the interface itself. Those of the query (param_NAME) are set like them.
func settings(parameters url.Values) map[string]string {
	list := map[string]string{}
	for name := range parameters {
		switch name {
		case "query", "database", "default_format", "client_protocol_version", "compress", "decompress", "network_compression_method",
			"network_zstd_compression_level", "wait_end_of_query", "session_id", "session_timeout", "query_id", "user", "password",
			"enable_http_compression", "quota_key", "role":
		default:
			list[name] = parameters.Get(name)
		}
	}
	return list
}

// stored keeps an insert's data in a file: the library takes no data beside a query.
func stored(data []byte) (string, error) {
	f, err := os.CreateTemp("", "chdb-insert-")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	return f.Name(), errors.Join(err, f.Close())
}

var format = regexp.MustCompile(`(?is)\sFORMAT\s+\w+\s*;?\s*$`)

func fromFile(insert, file string) (string, error) {
	at := format.FindStringIndex(insert)
	if at == nil {
		return "", errors.New("Code: 62. DB::Exception: an insert with data must end with its FORMAT")
	}
	return insert[:at[0]] + " FROM INFILE " + literal(file) + insert[at[0]:], nil
}

var exceptionCode = regexp.MustCompile(`Code: (\d+)`)

func fail(w http.ResponseWriter, err error) {
	if m := exceptionCode.FindStringSubmatch(err.Error()); m != nil {
		w.Header().Set("X-ClickHouse-Exception-Code", m[1])
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// compressed is what ClickHouse sends for compress=1: frames of a megabyte at most.
func compressed(out []byte, method string) (all []byte, err error) {
	kind := compress.LZ4
	if strings.EqualFold(method, "zstd") {
		kind = compress.ZSTD
	}
	frame := compress.NewWriter(compress.LevelZero, kind)
	for len(out) > 0 {
		n := min(len(out), 1<<20)
		if err := frame.Compress(out[:n]); err != nil {
			return nil, err
		}
		all, out = append(all, frame.Data...), out[n:]
	}
	return all, nil
}

// hello answers the driver's first question, with revision 0: blocks then come as the library writes them.
func (h *handler) hello() []byte {
	b := &proto.Buffer{}
	columns := proto.Input{
		{Name: "displayName()", Data: text("chdb")},
		{Name: "version()", Data: text(h.version)},
		{Name: "revision()", Data: &proto.ColUInt32{0}},
		{Name: "timezone()", Data: text("UTC")},
	}
	b.PutUVarInt(1) // the block's own fields: no overflows, bucket -1
	b.PutBool(false)
	b.PutUVarInt(2)
	b.PutInt32(-1)
	b.PutUVarInt(0)
	b.PutUVarInt(uint64(len(columns)))
	b.PutUVarInt(1)
	for _, c := range columns {
		b.PutString(c.Name)
		b.PutString(string(c.Data.Type()))
		b.PutBool(false) // no serialization of its own
		c.Data.EncodeColumn(b)
	}
	return b.Buf
}

func text(s string) *proto.ColStr {
	c := &proto.ColStr{}
	c.Append(s)
	return c
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
