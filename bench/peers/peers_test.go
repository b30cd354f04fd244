package peers

import (
	"net/http"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestPeers(t *testing.T) {
	res, err := http.Get(AWS(t) + "/moto-api/data.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Error(res.Status)
	}
	Kafka(t)
}

func TestRabbit(t *testing.T) {
	conn, err := amqp.Dial(Rabbit(t))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
