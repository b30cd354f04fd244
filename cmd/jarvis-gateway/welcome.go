package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// welcome tells whoever started the gateway where it is and what to do next.
func (s *live) welcome(out io.Writer, data, private string) {
	base := "http://" + reachable(data)
	for _, note := range s.conf.Notes {
		fmt.Fprintln(out, "note:", note)
	}
	if s.pin.Version != 0 {
		fmt.Fprintf(out, "note: version %d of the configuration is in force in place of the files: %s pinned it at %s ('jarvis-gateway config unpin' ends that)\n",
			s.pin.Version, oneLine(s.pin.Author), s.pin.At.UTC().Format(time.RFC3339))
	}
	key := s.conf.Key.Reveal()
	fmt.Fprintf(out, "\njarvis-gateway is serving\n\n  base URL   %s/v1\n  metrics    http://%s/metrics\n  providers  %s\n",
		base, reachable(private), strings.Join(slices.Sorted(maps.Keys(s.conf.Providers)), ", "))
	if key != "" {
		fmt.Fprintf(out, "  key        %s\n", key)
	}
	fmt.Fprintf(out, "\nTry it:\n\n  curl %s/v1/chat/completions \\\n    -H \"Authorization: Bearer %s\" \\\n    -H \"Content-Type: application/json\" \\\n    -d '{\"model\": \"%s\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}]}'\n\n",
		base, cmp.Or(key, "YOUR_KEY"), s.exampleModel(base, key))
	fmt.Fprintf(out, "Any OpenAI client: set OPENAI_BASE_URL=%s/v1 and OPENAI_API_KEY to the key.\n\n", base)
}

// reachable is an address that a client on this machine can use.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// exampleModel is a name that the printed command can ask for: one of the config, or one that the gateway lists.
func (s *live) exampleModel(base, key string) string {
	for _, name := range slices.Sorted(maps.Keys(s.conf.Models)) {
		if !strings.Contains(name, "*") {
			return name
		}
	}
	for _, p := range s.conf.Providers {
		switch {
		case p.Kind == "openai" && p.BaseURL == "":
			return "gpt-4o-mini"
		case p.Kind == "simulated":
			return "simulated"
		}
	}
	return cmp.Or(firstListed(base, key), "YOUR_MODEL")
}

func firstListed(base, key string) string {
	req, err := http.NewRequest(http.MethodGet, base+"/v1/models", nil)
	if err != nil {
		return ""
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := (&http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	var list struct{ Data []struct{ ID string } }
	if json.NewDecoder(res.Body).Decode(&list) != nil || len(list.Data) == 0 {
		return ""
	}
	return list.Data[0].ID
}
