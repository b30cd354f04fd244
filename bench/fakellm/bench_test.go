package fakellm

import (
	"bytes"
	"net"
	"strings"
	"testing"
)

// BenchmarkRequest includes the kernel and a client that does next to nothing.
func BenchmarkRequest(b *testing.B) {
	question := `{"model":"fake","messages":[{"role":"user","content":"` + strings.Repeat("words ", 40) + `"}]}`
	for _, c := range []struct {
		name, body string
		plan       Plan
		end        string
	}{
		{"whole 1 KiB", question, Plan{Tokens: 100, Size: 600}, "}"},
		{"stream of 16", question[:len(question)-1] + `,"stream":true}`, Plan{}, "0\r\n\r\n"},
		{"stream of 1000", question[:len(question)-1] + `,"stream":true}`, Plan{Tokens: 1000}, "0\r\n\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := start(b, Options{Quiet: true, Default: c.plan})
			conn := dial(b, s, "")
			request := []byte(rawPost("/v1/chat/completions", c.body))
			first := exchangeOnce(b, conn, request, c.end)
			buf := make([]byte, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(request); err != nil {
					b.Fatal(err)
				}
				for got := 0; got < first; {
					n, err := conn.Read(buf)
					if err != nil {
						b.Fatal(err)
					}
					got += n
				}
			}
		})
	}
}

// exchangeOnce is the size of the answer.
func exchangeOnce(b *testing.B, conn net.Conn, request []byte, end string) int {
	if _, err := conn.Write(request); err != nil {
		b.Fatal(err)
	}
	size := 0
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		if size += n; bytes.HasSuffix(buf[:n], []byte(end)) {
			return size
		}
	}
}
