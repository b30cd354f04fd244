// Serve answers ClickHouse's HTTP interface with libchdb, for tests: one query at a time, without users. It prints its address
// and ends when its standard input does. What follows the flags are options of the engine: --path=FOLDER, --config-file=FILE.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	lib := flag.String("lib", "libchdb.so", "the library")
	addr := flag.String("addr", "127.0.0.1:0", "where to listen")
	flag.Parse()
	if err := serve(*lib, *addr, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func serve(lib, addr string, options []string) error {
	e, err := load(lib, options)
	if err != nil {
		return err
	}
	version, err := e.query("SELECT version()", "TSVRaw")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	server := &http.Server{Handler: &handler{e, strings.TrimSpace(string(version))}, ReadHeaderTimeout: time.Minute}
	return server.Serve(listener)
}
