// Administration with @platformatic/kafka.

import { Admin, ConfigResourceTypes, IncrementalAlterConfigOperationTypes } from '@platformatic/kafka'

const TOPIC = ConfigResourceTypes.TOPIC

/** The handlers of administrative requests; each makes a client of its own, as a command-line tool would. */
export function admin (connection) {
  const on = call => async request => {
    const client = new Admin(connection(request))
    try {
      return await call(client, request)
    } finally {
      await client.close()
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

async function createTopic (client, { topic, partitions, replication_factor: replicas, config }) {
  const configs = Object.entries(config).map(([name, value]) => ({ name, value }))
  await client.createTopics({ topics: [topic], partitions, replicas, configs })
}

async function createPartitions (client, { topic, partitions }) {
  await client.createPartitions({ topics: [{ name: topic, count: partitions }] })
}

async function describeTopic (client, { topic }) {
  const { topics } = await client.metadata({ topics: [topic] })
  return topics.get(topic).partitions.map(({ leader, replicas, isr }, partition) => (
    { partition, leader, replicas, in_sync: isr }))
}

async function describeConfig (client, { topic }) {
  const [{ configs }] = await client.describeConfigs({ resources: [{ resourceType: TOPIC, resourceName: topic }] })
  return Object.fromEntries(configs.map(({ name, value }) => [name, value]))
}

async function alterConfig (client, { topic, config }) {
  const configOperation = IncrementalAlterConfigOperationTypes.SET
  const configs = Object.entries(config).map(([name, value]) => ({ name, value, configOperation }))
  await client.incrementalAlterConfigs({ resources: [{ resourceType: TOPIC, resourceName: topic, configs }] })
}

async function deleteTopic (client, { topic }) {
  await client.deleteTopics({ topics: [topic] })
}

async function listGroups (client) {
  return [...(await client.listGroups()).keys()]
}

async function deleteGroup (client, { group }) {
  await client.deleteGroups({ groups: [group] })
}
