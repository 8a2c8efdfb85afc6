// Administration with kafkajs.

import kafkajs from 'kafkajs'

const { ConfigResourceTypes } = kafkajs
const TOPIC = ConfigResourceTypes.TOPIC

/** The handlers of administrative requests; each makes a client of its own with `kafka`, as a command-line tool would. */
export function admin (kafka) {
  const on = call => async request => {
    const client = kafka(request).admin()
    await client.connect()
    try {
      return await call(client, request)
    } finally {
      await client.disconnect()
    }
  }
  return {
    create_topic: on(createTopic),
    create_partitions: on(createPartitions),
    list_topics: on(client => client.listTopics()),
    describe_topic: on(describeTopic),
    describe_config: on(describeConfig),
    alter_config: on(alterConfig),
    delete_topic: on(deleteTopic),
    list_groups: on(listGroups),
    delete_group: on(deleteGroup)
  }
}

function configEntries (config) {
  return Object.entries(config).map(([name, value]) => ({ name, value }))
}

async function createTopic (client, { topic, partitions, replication_factor: replicationFactor, config }) {
  await client.createTopics({
    topics: [{ topic, numPartitions: partitions, replicationFactor, configEntries: configEntries(config) }]
  })
}

async function createPartitions (client, { topic, partitions }) {
  await client.createPartitions({ topicPartitions: [{ topic, count: partitions }] })
}

async function describeTopic (client, { topic }) {
  const { topics } = await client.fetchTopicMetadata({ topics: [topic] })
  return topics[0].partitions.map(({ partitionId, leader, replicas, isr }) => (
    { partition: partitionId, leader, replicas, in_sync: isr }))
}

async function describeConfig (client, { topic }) {
  const { resources } = await client.describeConfigs({ includeSynonyms: false, resources: [{ type: TOPIC, name: topic }] })
  return Object.fromEntries(resources[0].configEntries.map(({ configName, configValue }) => [configName, configValue]))
}

async function alterConfig (client, { topic, config }) {
  await client.alterConfigs({
    validateOnly: false, resources: [{ type: TOPIC, name: topic, configEntries: configEntries(config) }]
  })
}

async function deleteTopic (client, { topic }) {
  await client.deleteTopics({ topics: [topic] })
}

async function listGroups (client) {
  const { groups } = await client.listGroups()
  return groups.map(({ groupId }) => groupId)
}

async function deleteGroup (client, { group }) {
  await client.deleteGroups([group])
}
