package stream

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	amqp "github.com/rabbitmq/amqp091-go"
	"gocloud.dev/pubsub"
	"gocloud.dev/pubsub/awssnssqs"
	"gocloud.dev/pubsub/batcher"
	"gocloud.dev/pubsub/kafkapubsub"
	"gocloud.dev/pubsub/rabbitpubsub"
)

// broker is a topic, an exchange or a queue.
type broker struct {
	topic   *pubsub.Topic
	fifo    bool // of SQS
	release func() error
}

// dialTime is how long a broker may take to answer at all.
const dialTime = 10 * time.Second

// headers of each message. Kafka and RabbitMQ have the tenant as key of the message instead, and route by it.
const (
	headerUID    = "uid"
	headerTenant = "tenant"
)

func checkKafka(u *url.URL) error {
	for name, values := range u.Query() {
		if name != "tls" || len(values) > 1 || values[0] != "true" && values[0] != "false" {
			return errors.New("there is an option that is not known: tls=true is, and " + expected)
		}
	}
	if strings.Trim(u.Path, "/") == "" {
		return errors.New("the topic is missing: " + expected)
	}
	return nil
}

// openKafka waits until all replicas of a partition that are in sync have a message. A user and a password are SASL's (PLAIN).
func openKafka(_ context.Context, s *Stream) (sink, error) {
	c := sarama.NewConfig()
	c.ClientID = "jarvis-gateway"
	c.Producer.Return.Successes = true // gocloud.dev demands it
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Compression = sarama.CompressionZSTD
	c.Version = sarama.V2_1_0_0 // the first with ZSTD
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout, c.Producer.Timeout = dialTime, dialTime, dialTime, dialTime
	c.Net.TLS.Enable = s.url.Query().Get("tls") == "true"
	if user := s.url.User; user != nil {
		c.Net.SASL.Enable, c.Net.SASL.User = true, user.Username()
		c.Net.SASL.Password, _ = user.Password()
	}
	topic, err := kafkapubsub.OpenTopic(strings.Split(s.url.Host, ","), c, strings.Trim(s.url.Path, "/"), &kafkapubsub.TopicOptions{
		KeyName: headerTenant, BatcherOptions: batcher.Options{MaxBatchSize: 1000, MaxHandlers: 2}})
	if err != nil {
		return nil, err
	}
	return &broker{topic: topic, release: func() error { return nil }}, nil
}

// openRabbit publishes to an exchange that there is, with the tenant as routing key. What no queue gets is an error, and is told
// again.
func openRabbit(_ context.Context, s *Stream) (sink, error) {
	u := *s.url
	u.RawQuery = ""
	conn, err := amqp.DialConfig(u.String(), amqp.Config{Dial: amqp.DefaultDial(dialTime), Heartbeat: dialTime})
	if err != nil {
		return nil, err
	}
	topic := rabbitpubsub.OpenTopic(conn, s.url.Query().Get("exchange"), &rabbitpubsub.TopicOptions{KeyName: headerTenant})
	return &broker{topic: topic, release: conn.Close}, nil
}

// openSQS takes credentials from where all programs of AWS take them.
func openSQS(ctx context.Context, s *Stream) (sink, error) {
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	u := *s.url
	u.RawQuery, u.Scheme = "", cmp.Or(strings.TrimPrefix(strings.TrimPrefix(u.Scheme, "sqs"), "+"), "https")
	host := u.Scheme + "://" + u.Host
	client := sqs.NewFromConfig(c, func(o *sqs.Options) { o.Region, o.BaseEndpoint = s.url.Query().Get("region"), &host })
	b := &broker{topic: awssnssqs.OpenSQSTopic(ctx, client, u.String(), nil), fifo: strings.HasSuffix(u.Path, ".fifo"), release: func() error { return nil }}
	return b, nil
}

func (b *broker) send(ctx context.Context, _ string, list []event) error {
	errs := make([]error, len(list))
	var all sync.WaitGroup
	for i, e := range list { // the library gathers what is sent at the same time
		all.Go(func() { errs[i] = b.topic.Send(ctx, b.message(e)) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *broker) message(e event) *pubsub.Message {
	m := &pubsub.Message{Body: e.body, Metadata: map[string]string{headerUID: e.uid}, BeforeSend: persist}
	if e.tenant != "" {
		m.Metadata[headerTenant] = e.tenant
	}
	if b.fifo {
		m.Metadata[awssnssqs.MetadataKeyDeduplicationID] = e.uid
		m.Metadata[awssnssqs.MetadataKeyMessageGroupID] = cmp.Or(e.tenant, "-")
	}
	return m
}

// persist has RabbitMQ keep a message on its disk.
func persist(as func(any) bool) error {
	var p *amqp.Publishing
	if as(&p) {
		p.DeliveryMode, p.ContentType = amqp.Persistent, "application/json"
	}
	return nil
}

func (b *broker) close(ctx context.Context) error {
	return errors.Join(b.topic.Shutdown(ctx), b.release())
}
