package lines

import (
	"sort"
	"sync"
)

// Rebalances records what a group assigned and took away, and so what is held now.
type Rebalances struct {
	lock     sync.Mutex
	held     map[TopicPartition]bool
	assigned [][]TopicPartition
	revoked  [][]TopicPartition
}

// Assigned takes in one callback.
func (r *Rebalances) Assigned(partitions map[string][]int32) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.held == nil {
		r.held = map[TopicPartition]bool{}
	}
	list := sorted(partitions)
	r.assigned = append(r.assigned, list)
	for _, partition := range list {
		r.held[partition] = true
	}
}

// Revoked takes in one callback.
func (r *Rebalances) Revoked(partitions map[string][]int32) {
	r.lock.Lock()
	defer r.lock.Unlock()
	list := sorted(partitions)
	r.revoked = append(r.revoked, list)
	for _, partition := range list {
		delete(r.held, partition)
	}
}

// Held is the assignment of now, sorted.
func (r *Rebalances) Held() []TopicPartition {
	r.lock.Lock()
	defer r.lock.Unlock()
	held := map[string][]int32{}
	for partition := range r.held {
		held[partition.Topic] = append(held[partition.Topic], partition.Partition)
	}
	return sorted(held)
}

// Answer answers "rebalances".
func (r *Rebalances) Answer() any {
	r.lock.Lock()
	defer r.lock.Unlock()
	return map[string]any{
		"assigned": append([][]TopicPartition{}, r.assigned...),
		"revoked":  append([][]TopicPartition{}, r.revoked...),
	}
}

func sorted(partitions map[string][]int32) []TopicPartition {
	list := []TopicPartition{}
	for topic, numbers := range partitions {
		for _, number := range numbers {
			list = append(list, TopicPartition{topic, number})
		}
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].Topic != list[j].Topic {
			return list[i].Topic < list[j].Topic
		}
		return list[i].Partition < list[j].Partition
	})
	return list
}
