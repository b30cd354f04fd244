package stream

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	amqp "github.com/rabbitmq/amqp091-go"

	"jarvis-gateway/bench/peers"
)

func TestKafka(t *testing.T) {
	address, kill := peers.Kafka(t)
	c := sarama.NewConfig()
	c.Version = sarama.V2_1_0_0
	admin, err := sarama.NewClusterAdmin([]string{address}, c)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.CreateTopic("usage", &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}, false); err != nil {
		t.Fatal(err)
	}
	consumer, err := sarama.NewConsumer([]string{address}, c)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	var got received
	for p := range int32(3) {
		part, err := consumer.ConsumePartition("usage", p, sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		defer part.Close()
		go func() {
			for m := range part.Messages() {
				uid := ""
				for _, h := range m.Headers {
					if string(h.Key) == headerUID {
						uid = string(h.Value)
					}
				}
				got.take(uid, string(m.Key), m.Value)
			}
		}()
	}
	const n = 2000
	s := opened(t, "kafka://"+address+"/usage", "")
	log := shipped(t, t.TempDir(), s)
	add(t, log, 0, n)
	until(t, "all events", func() bool { return got.different() == n })
	if again := got.expect(t, n); again != 0 {
		t.Errorf("%d came again", again)
	}
	closed(t, log)

	kill()
	begun := time.Now()
	if err := s.Deliver(t.Context(), "x", [][]byte{record(1).AppendTo(nil)}); err == nil || time.Since(begun) > 2*sendTime {
		t.Errorf("a broker that is gone: %v after %s", err, time.Since(begun))
	}
}

func TestRabbit(t *testing.T) {
	server, err := url.Parse(peers.Rabbit(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := amqp.Dial(server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare("usage", "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("all", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	wire := newRelay(t, server.Host)
	s := opened(t, "amqp://guest:guest@"+wire.Addr().String()+"/?exchange=usage", "")
	if err := s.Deliver(t.Context(), "", [][]byte{record(1).AppendTo(nil)}); err == nil || !strings.Contains(err.Error(), "NO_ROUTE") {
		t.Errorf("what no queue gets: %v", err)
	}
	if err := ch.QueueBind("all", "#", "usage", false, nil); err != nil {
		t.Fatal(err)
	}
	messages, err := ch.Consume("all", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got received
	go func() {
		for m := range messages {
			uid, _ := m.Headers[headerUID].(string)
			if m.DeliveryMode != amqp.Persistent {
				uid = "not kept on disk"
			}
			got.take(uid, m.RoutingKey, m.Body)
		}
	}()
	n := throughCuts(t, wire, s, 300, got.different)
	until(t, "all events", func() bool { return got.different() >= n })
	t.Logf("%d events of %d came again", got.expect(t, n), n)
	wrong := opened(t, "amqp://guest:zebra%2Fcrossing@"+server.Host+"/?exchange=usage", "")
	if err := wrong.Deliver(t.Context(), "", [][]byte{record(1).AppendTo(nil)}); err == nil || strings.Contains(err.Error(), "zebra") {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestSQS(t *testing.T) {
	endpoint, err := url.Parse(peers.AWS(t))
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := sqs.NewFromConfig(c, func(o *sqs.Options) { o.BaseEndpoint = aws.String(endpoint.String()) })
	wire := newRelay(t, endpoint.Host)
	// create makes a queue. It returns its URL over the wire, how many messages it has, and what reads them all.
	create := func(name string, attributes map[string]string) (to string, depth func() int, read func(n int) *received) {
		queue, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		made, err := url.Parse(*queue.QueueUrl)
		if err != nil {
			t.Fatal(err)
		}
		depth = func() int {
			a, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: queue.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{"All"}})
			if err != nil {
				t.Fatal(err)
			}
			n, _ := strconv.Atoi(a.Attributes["ApproximateNumberOfMessages"])
			return n
		}
		read = func(n int) *received {
			got := &received{}
			for got.different() < n {
				m, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}})
				if err != nil || len(m.Messages) == 0 {
					t.Fatalf("%d messages of %d: %v", got.different(), n, err)
				}
				for _, m := range m.Messages {
					got.take(*m.MessageAttributes[headerUID].StringValue, *m.MessageAttributes[headerTenant].StringValue, []byte(*m.Body))
					if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: queue.QueueUrl, ReceiptHandle: m.ReceiptHandle}); err != nil {
						t.Fatal(err)
					}
				}
			}
			return got
		}
		return "sqs+http://" + wire.Addr().String() + made.Path + "?region=us-east-1", depth, read
	}
	to, depth, read := create("usage", nil)
	n := throughCuts(t, wire, opened(t, to, ""), 40, depth)
	t.Logf("%d events of %d came again", read(n).expect(t, n), n)

	// A queue that keeps order drops what comes again.
	to, _, read = create("usage.fifo", map[string]string{"FifoQueue": "true"})
	s := opened(t, to, "")
	batch := [][]byte{record(0).AppendTo(nil), record(1).AppendTo(nil), record(2).AppendTo(nil)}
	for range 2 {
		if err := s.Deliver(t.Context(), "x", batch); err != nil {
			t.Fatal(err)
		}
	}
	if again := read(3).expect(t, 3); again != 0 {
		t.Errorf("%d came again", again)
	}
}
