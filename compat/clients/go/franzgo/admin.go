package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kbroker/compat/clients/lines"
)

// administer runs one call on a client of its own, as a command-line tool would.
func administer(r *lines.Request, call func(context.Context, *kadm.Client) (any, error)) (any, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Brokers()...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return call(context.Background(), kadm.NewClient(client))
}

func createTopic(r *lines.Request) (any, error) {
	config := map[string]*string{}
	for name, value := range r.Config {
		config[name] = &value
	}
	return administer(r, func(ctx context.Context, admin *kadm.Client) (any, error) {
		_, err := admin.CreateTopic(ctx, r.Partitions, r.ReplicationFactor, config, r.Topic)
		return lines.Nothing{}, err
	})
}

func createPartitions(r *lines.Request) (any, error) {
	return administer(r, func(ctx context.Context, admin *kadm.Client) (any, error) {
		grown, err := admin.UpdatePartitions(ctx, int(r.Partitions), r.Topic)
		if err == nil {
			err = grown.Error()
		}
		return lines.Nothing{}, err
	})
}

func listTopics(r *lines.Request) (any, error) {
	return administer(r, func(ctx context.Context, admin *kadm.Client) (any, error) {
		topics, err := admin.ListTopics(ctx)
		return topics.Names(), err
	})
}

func describeTopic(r *lines.Request) (any, error) {
	return administer(r, func(ctx context.Context, admin *kadm.Client) (any, error) {
		topics, err := admin.ListTopics(ctx, r.Topic)
		if err != nil {
			return nil, err
		}
		if err := topics[r.Topic].Err; err != nil {
			return nil, err
		}
		states := []lines.PartitionState{}
		for _, p := range topics[r.Topic].Partitions.Sorted() {
			states = append(states, lines.PartitionState{
				Partition: p.Partition, Leader: p.Leader, Replicas: p.Replicas, InSync: p.ISR,
			})
		}
		return states, nil
	})
}

func describeConfig(r *lines.Request) (any, error) {
	return administer(r, func(ctx context.Context, admin *kadm.Client) (any, error) {
		configs, err := admin.DescribeTopicConfigs(ctx, r.Topic)
		if err != nil {
			return nil, err
		}
		config, err := configs.On(r.Topic, nil)
		if err == nil {
			err = config.Err
		}
		if err != nil {
			return nil, err
		}
		values := map[string]*string{}
		for _, entry := range config.Configs {
			values[entry.Key] = entry.Value
		}
		return values, nil
	})
}

func alterConfig(r *lines.Request) (any, error) {
	changes := []kadm.AlterConfig{}
	for name, value := range r.Config {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
	}
	return administer(r, func(ctx context.Context, admin *kadm.Client) (any, error) {
		altered, err := admin.AlterTopicConfigs(ctx, changes, r.Topic)
		if err != nil {
			return nil, err
		}
		one, err := altered.On(r.Topic, nil)
		if err == nil {
			err = one.Err
		}
		return lines.Nothing{}, err
	})
}

func deleteTopic(r *lines.Request) (any, error) {
	return administer(r, func(ctx context.Context, admin *kadm.Client) (any, error) {
		_, err := admin.DeleteTopic(ctx, r.Topic)
		return lines.Nothing{}, err
	})
}

func listGroups(r *lines.Request) (any, error) {
	return administer(r, func(ctx context.Context, admin *kadm.Client) (any, error) {
		groups, err := admin.ListGroups(ctx)
		return groups.Groups(), err
	})
}

func deleteGroup(r *lines.Request) (any, error) {
	return administer(r, func(ctx context.Context, admin *kadm.Client) (any, error) {
		_, err := admin.DeleteGroup(ctx, r.Group)
		return lines.Nothing{}, err
	})
}
