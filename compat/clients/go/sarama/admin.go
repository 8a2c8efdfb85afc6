package main

import (
	"github.com/IBM/sarama"

	"kbroker/compat/clients/lines"
)

// administer runs one call on a client of its own, as a command-line tool would.
func administer(r *lines.Request, call func(sarama.ClusterAdmin) (any, error)) (any, error) {
	admin, err := sarama.NewClusterAdmin(r.Brokers(), settings())
	if err != nil {
		return nil, err
	}
	defer func() { _ = admin.Close() }()
	return call(admin)
}

func createTopic(r *lines.Request) (any, error) {
	config := map[string]*string{}
	for name, value := range r.Config {
		config[name] = &value
	}
	detail := &sarama.TopicDetail{
		NumPartitions: r.Partitions, ReplicationFactor: r.ReplicationFactor, ConfigEntries: config,
	}
	return administer(r, func(admin sarama.ClusterAdmin) (any, error) {
		return lines.Nothing{}, admin.CreateTopic(r.Topic, detail, false)
	})
}

func createPartitions(r *lines.Request) (any, error) {
	return administer(r, func(admin sarama.ClusterAdmin) (any, error) {
		return lines.Nothing{}, admin.CreatePartitions(r.Topic, r.Partitions, nil, false)
	})
}

func listTopics(r *lines.Request) (any, error) {
	return administer(r, func(admin sarama.ClusterAdmin) (any, error) {
		topics, err := admin.ListTopics()
		names := []string{}
		for name := range topics {
			names = append(names, name)
		}
		return names, err
	})
}

func describeTopic(r *lines.Request) (any, error) {
	return administer(r, func(admin sarama.ClusterAdmin) (any, error) {
		topics, err := admin.DescribeTopics([]string{r.Topic})
		if err != nil {
			return nil, err
		}
		states := []lines.PartitionState{}
		for _, topic := range topics {
			if topic.Err != sarama.ErrNoError {
				return nil, topic.Err
			}
			for _, p := range topic.Partitions {
				states = append(states, lines.PartitionState{
					Partition: p.ID, Leader: p.Leader, Replicas: p.Replicas, InSync: p.Isr,
				})
			}
		}
		return states, nil
	})
}

func describeConfig(r *lines.Request) (any, error) {
	return administer(r, func(admin sarama.ClusterAdmin) (any, error) {
		entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: r.Topic})
		values := map[string]string{}
		for _, entry := range entries {
			values[entry.Name] = entry.Value
		}
		return values, err
	})
}

func alterConfig(r *lines.Request) (any, error) {
	changes := map[string]sarama.IncrementalAlterConfigsEntry{}
	for name, value := range r.Config {
		changes[name] = sarama.IncrementalAlterConfigsEntry{
			Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value,
		}
	}
	return administer(r, func(admin sarama.ClusterAdmin) (any, error) {
		return lines.Nothing{}, admin.IncrementalAlterConfig(sarama.TopicResource, r.Topic, changes, false)
	})
}

func deleteTopic(r *lines.Request) (any, error) {
	return administer(r, func(admin sarama.ClusterAdmin) (any, error) {
		return lines.Nothing{}, admin.DeleteTopic(r.Topic)
	})
}

func listGroups(r *lines.Request) (any, error) {
	return administer(r, func(admin sarama.ClusterAdmin) (any, error) {
		groups, err := admin.ListConsumerGroups()
		names := []string{}
		for name := range groups {
			names = append(names, name)
		}
		return names, err
	})
}

func deleteGroup(r *lines.Request) (any, error) {
	return administer(r, func(admin sarama.ClusterAdmin) (any, error) {
		return lines.Nothing{}, admin.DeleteConsumerGroup(r.Group)
	})
}
