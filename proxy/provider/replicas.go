package provider

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Replicas says where the equal servers of a provider are: a list of base URLs, a file with one a line, or a name in the DNS
// with an address for each.
type Replicas struct {
	List  []string
	File  string
	DNS   string        // a base URL; a host that begins with _ has SRV records
	Every time.Duration // how often DNS is asked
}

// Probe says how replicas are asked whether they are well.
type Probe struct {
	Path    string        `yaml:"path,omitempty" jsonschema_description:"below the server's root; 200 to 299 says that it is well; default /health"`
	Every   Every         `yaml:"every,omitempty" jsonschema_description:"default 5s; off: replicas are judged by their answers alone"`
	Timeout time.Duration `yaml:"timeout,omitempty" jsonschema_description:"default 2s"`
}

// Queue bounds the requests that wait for a place at a provider.
type Queue struct {
	Max  int           `yaml:"max,omitempty" jsonschema:"minimum=1,maximum=10000" jsonschema_description:"requests that may wait; default 100"`
	Wait time.Duration `yaml:"wait,omitempty" jsonschema_description:"how long each may, 10m at most; default 10s"`
}

// Every is a time between two doings of the same thing, or off. Zero is what nobody has said.
type Every time.Duration

// Off is never.
const Off Every = -1

// UnmarshalText reads 5s, off or 0s.
func (e *Every) UnmarshalText(text []byte) error {
	if string(text) == "off" {
		*e = Off
		return nil
	}
	d, err := time.ParseDuration(string(text))
	switch {
	case err != nil || d < 0 || d > 0 && d < minEvery:
		return fmt.Errorf("expected a duration like 1s, %s at least, or off", minEvery)
	case d == 0:
		*e = Off
	default:
		*e = Every(d)
	}
	return nil
}

// minEvery keeps a slip from becoming a flood.
const minEvery = 10 * time.Millisecond

// MarshalText writes it as it is read.
func (e Every) MarshalText() ([]byte, error) {
	if e == Off {
		return []byte("off"), nil
	}
	return []byte(time.Duration(e).String()), nil
}

// or is the time, or the one given where nobody has said it; 0 where it is off.
func (e Every) or(d time.Duration) time.Duration { return max(time.Duration(cmp.Or(e, Every(d))), 0) }

// Given tells whether the config names replicas in any way.
func (r Replicas) Given() bool { return len(r.List) > 0 || r.File != "" || r.DNS != "" }

const notReplicas = "expected a list of base URLs, {file: replicas.txt} or {dns: http://name:port, every: 10s}"

// UnmarshalYAML reads a list or a mapping.
func (r *Replicas) UnmarshalYAML(n *yaml.Node) error {
	*r = Replicas{}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return fmt.Errorf("[%d]: expected a base URL", i)
			}
			r.List = append(r.List, item.Value)
		}
		return nil
	case yaml.MappingNode:
	default:
		return errors.New(notReplicas)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := r.field(n.Content[i].Value, n.Content[i+1]); err != nil {
			return err
		}
	}
	if (r.File == "") == (r.DNS == "") || r.File != "" && r.Every != 0 {
		return errors.New(notReplicas)
	}
	return nil
}

func (r *Replicas) field(name string, n *yaml.Node) (err error) {
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		return fmt.Errorf("%s: expected text", name)
	}
	switch name {
	case "file":
		r.File = n.Value
	case "dns":
		r.DNS = n.Value
	case "every":
		if r.Every, err = time.ParseDuration(n.Value); err != nil || r.Every < time.Second {
			return errors.New("every: expected a duration like 10s, 1s at least")
		}
	default:
		return fmt.Errorf("%s: unknown key (choices: file, dns, every)", name)
	}
	return nil
}

// MarshalYAML writes them as they are read.
func (r Replicas) MarshalYAML() (any, error) {
	switch {
	case r.File != "":
		return map[string]string{"file": r.File}, nil
	case r.DNS == "":
		return r.List, nil
	case r.Every == 0:
		return map[string]string{"dns": r.DNS}, nil
	}
	return map[string]string{"dns": r.DNS, "every": r.Every.String()}, nil
}

// baseURL reads one base URL.
func baseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("expected http://host[:port][/path] or https://..., without user, query or fragment")
	}
	return u, nil
}

// replicaList reads a file of replicas: a base URL a line, and comments from #.
func replicaList(text []byte) ([]string, error) {
	var list []string
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if _, err := baseURL(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		list = append(list, line)
	}
	if len(list) == 0 {
		return nil, errors.New("it names no replica")
	}
	return list, nil
}

// checkPool tells what is wrong with the settings of a pool.
func (cfg Config) checkPool() (errs []error) {
	if cfg.Kind != "vllm" {
		if cfg.Replicas.Given() {
			errs = append(errs, errors.New("replicas: only for kind vllm, and in place of base_url"))
		}
		if cfg.Probe != (Probe{}) || cfg.Scrape != 0 || cfg.SlowStart != 0 || cfg.MaxInFlight != 0 || cfg.Queue != (Queue{}) {
			errs = append(errs, errors.New("probe: probe, scrape, slow_start, max_in_flight and queue are only for kind vllm"))
		}
		return errs
	}
	if cfg.Replicas.Given() && cfg.BaseURL != "" {
		errs = append(errs, errors.New("replicas: only for kind vllm, and in place of base_url"))
	}
	if p := cfg.Probe.Path; p != "" && (!strings.HasPrefix(p, "/") || strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r > '~' })) {
		errs = append(errs, errors.New("probe.path: expected a path such as /health"))
	}
	if cfg.MaxInFlight < 0 {
		errs = append(errs, errors.New("max_in_flight: must be at least 1"))
	}
	if cfg.Queue != (Queue{}) && cfg.MaxInFlight == 0 {
		errs = append(errs, errors.New("queue: nothing waits without max_in_flight"))
	}
	if cfg.Queue.Max < 0 || cfg.Queue.Max > 10_000 {
		errs = append(errs, errors.New("queue.max: must be from 1 to 10000"))
	}
	if cfg.Queue.Wait < 0 || cfg.Queue.Wait > 10*time.Minute {
		errs = append(errs, errors.New("queue.wait: must be more than 0 and at most 10m"))
	}
	return errs
}
