//go:build ignore

// pack makes the vocabularies that the package embeds of those that OpenAI publishes: go run pack.go o200k_base.tiktoken
// cl100k_base.tiktoken. Of lines with a token in base64 and its rank, in order, it makes for each token a byte for its length
// and its bytes.
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"strings"
)

func main() {
	for _, file := range os.Args[1:] {
		if err := pack(file, strings.TrimSuffix(file, ".tiktoken")+".vocab"); err != nil {
			log.Fatalf("%s: %v", file, err)
		}
	}
}

func pack(from, to string) error {
	published, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var packed []byte
	for rank, line := range strings.Split(strings.TrimSpace(string(published)), "\n") {
		coded, number, _ := bytes.Cut([]byte(line), []byte(" "))
		token, err := base64.StdEncoding.AppendDecode(nil, coded)
		if err != nil || len(token) == 0 || len(token) > 255 || string(number) != fmt.Sprint(rank) {
			return fmt.Errorf("line %d: no token of that rank", rank+1)
		}
		packed = append(append(packed, byte(len(token))), token...)
	}
	return os.WriteFile(to, packed, 0o644)
}
