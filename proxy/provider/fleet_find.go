package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	fileEvery = time.Second
	dnsEvery  = 10 * time.Second
	dnsWait   = 2 * time.Second
	maxList   = 1 << 20 // bytes of a file of replicas
)

// resolver is what names are looked up with.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// finder finds replicas that the config does not list: in a file or in the DNS. What it found last goes on while it fails.
type finder struct {
	from   Replicas
	names  resolver
	found  []place
	text   []byte // of the file
	failed bool   // the last time
	due    time.Time
}

// find looks again. changed is false where nothing is new.
func (f *finder) find(ctx context.Context) (changed bool, err error) {
	var places []place
	if f.from.File != "" {
		places, err = f.read()
	} else {
		places, err = f.resolve(ctx)
	}
	f.failed = err != nil
	if err != nil || slices.Equal(places, f.found) {
		return false, err
	}
	f.found = places
	return true, nil
}

// every is how often to look.
func (f *finder) every() time.Duration {
	switch {
	case f.from.File != "":
		return fileEvery
	case f.from.Every > 0:
		return f.from.Every
	}
	return dnsEvery
}

// read reads the file. It is small: reading it is surer than its time, which some ways of replacing it do not change.
func (f *finder) read() ([]place, error) {
	file, err := os.Open(f.from.File)
	if err != nil {
		return nil, fmt.Errorf("replicas.file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxList+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("replicas.file: %w", err)
	case len(text) > maxList:
		return nil, fmt.Errorf("replicas.file: %s is larger than 1 MiB", f.from.File)
	case f.text != nil && bytes.Equal(text, f.text):
		return f.found, nil
	}
	list, err := replicaList(text)
	if err != nil {
		return nil, fmt.Errorf("replicas.file: %s: %w", f.from.File, err)
	}
	f.text = text
	return plain(list), nil
}

// resolve asks the DNS: each address is a replica.
func (f *finder) resolve(ctx context.Context) ([]place, error) {
	base, err := baseURL(f.from.DNS)
	if err != nil {
		return nil, fmt.Errorf("replicas.dns: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, dnsWait)
	defer cancel()
	if strings.HasPrefix(base.Hostname(), "_") {
		return f.services(ctx, base)
	}
	addresses, err := f.names.LookupNetIP(ctx, "ip", base.Hostname())
	if err != nil {
		return nil, fmt.Errorf("replicas.dns: %w", err)
	}
	_, port, err := net.SplitHostPort(addrOf(base))
	if err != nil {
		return nil, fmt.Errorf("replicas.dns: %w", err)
	}
	var places []place
	for _, ip := range addresses {
		at := net.JoinHostPort(ip.Unmap().String(), port)
		places = append(places, place{address: replaced(base, at), base: base.String(), dial: at})
	}
	return sorted(places)
}

// services asks for SRV records, each of which names a replica and its port.
func (f *finder) services(ctx context.Context, base *url.URL) ([]place, error) {
	_, records, err := f.names.LookupSRV(ctx, "", "", base.Hostname())
	if err != nil {
		return nil, fmt.Errorf("replicas.dns: %w", err)
	}
	var list []string
	for _, r := range records {
		at := net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port)))
		list = append(list, replaced(base, at))
	}
	return sorted(plain(list))
}

func replaced(base *url.URL, host string) string {
	u := *base
	u.Host = host
	return u.String()
}

// sorted puts places into the same order whatever the order of the answer, without those that stand twice.
func sorted(places []place) ([]place, error) {
	slices.SortFunc(places, func(a, b place) int { return strings.Compare(a.address, b.address) })
	places = slices.Compact(places)
	if len(places) == 0 {
		return nil, errors.New("replicas.dns: the name has no address")
	}
	return places, nil
}
